//! Redis that is gone: slower, and nothing else.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use tokio::task::JoinSet;

use super::{certain, chat, from, keeping};
use crate::{
    gateway::support::{CHAT, Client, End, Mock, crowd},
    support::{Server, get, redis::Redis, wait},
};

/// Questions that go on until they are stopped.
#[derive(Default)]
struct Questions {
    stop: AtomicBool,
    answered: AtomicU64,
}

impl Questions {
    /// Asks something else each time, with so many clients, while `during` runs; none may fail.
    fn go_on(server: &Server, clients: usize, during: impl FnOnce(&Self)) {
        let questions = Arc::new(Self::default());
        let (address, theirs) = (server.addresses.api, Arc::clone(&questions));
        let asking = thread::spawn(move || {
            let client = |number: usize| {
                let questions = Arc::clone(&theirs);
                async move {
                    let mut client = Client::new(address);
                    while !questions.stop.load(Relaxed) {
                        let text = format!("{number} {}", questions.answered.load(Relaxed));
                        let reply = client.post(CHAT, &certain(&text)).await;
                        assert_eq!(reply.end(), End::Answered);
                        questions.answered.fetch_add(1, Relaxed);
                    }
                }
            };
            crowd().block_on(async {
                (0..clients).map(client).collect::<JoinSet<_>>().join_all().await;
            });
        });
        let result = catch_unwind(AssertUnwindSafe(|| during(&questions)));
        questions.stop.store(true, Relaxed);
        asking.join().expect("no request failed");
        result.unwrap_or_else(|panic| resume_unwind(panic));
    }

    /// Waits for so many more answers.
    fn more(&self, answers: u64) {
        let before = self.answered.load(Relaxed);
        wait("there are more answers", || self.answered.load(Relaxed) >= before + answers);
    }
}

/// Requests to Redis that ended so.
fn ended(server: &Server, outcome: &str) -> u64 {
    server.metric(&format!(r#"thermograph_redis_requests_total{{outcome="{outcome}"}}"#))
}

#[test]
fn killed_hung_and_started_again_no_request_fails() {
    let (mock, mut redis) = (Mock::start(&[]), Redis::start());
    let server = keeping(&[&mock], &format!("[redis]\nurl = \"{}\"", redis.url()));
    let clients = 8;
    let opened = || server.metric("thermograph_redis_breaker_opened_total");
    let is_used = |questions: &Questions| {
        let answered = ended(&server, "answered");
        wait("Redis is asked again", || ended(&server, "answered") > answered + 100);
        questions.more(100);
    };
    Questions::go_on(&server, clients, |questions| {
        is_used(questions);
        redis.kill();
        questions.more(500);
        assert!(opened() > 0, "it was asked on and on");
        redis.restart();
        is_used(questions);

        let (waited, opened_before) = (ended(&server, "timeout"), opened());
        redis.hang();
        wait("it is done without", || opened() > opened_before);
        questions.more(1000);
        redis.go_on();
        is_used(questions);
        // Those that were on their way when it opened, and one each time that it was tried.
        let waited = ended(&server, "timeout") - waited;
        let most = 5 + 4 * clients as u64 + (opened() - opened_before);
        assert!(waited <= most, "{waited} waited for the time-out, and {most} may");
    });
    // Each wait was bounded: by 20 ms, and what a busy machine adds.
    let metrics = get(&server.diagnostics("/metrics")).text;
    let of = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect("a metric");
        line.trim().parse::<u64>().expect("a number")
    };
    let waits = "thermograph_redis_request_duration_seconds";
    assert_eq!(of(&format!(r#"{waits}_bucket{{le="0.5"}}"#)), of(&format!("{waits}_count")));
}

#[test]
fn without_redis_from_the_start_it_starts_and_keeps_in_memory() {
    let mock = Mock::start(&[]);
    let mut redis = Redis::start();
    redis.kill();
    let server = keeping(&[&mock], &format!("[redis]\nurl = \"{}\"", redis.url()));
    for expected in ["miss", "hit"] {
        assert_eq!(from(&chat(&server, &certain("a"))), expected);
    }
    let lines = |text: &str| server.log().matches(text).count();
    assert!(server.log().contains("\"error\":\"Connection refused"), "{}", server.log());
    assert_eq!(lines("Redis cannot be used"), 1, "{}", server.log());
    redis.restart();
    wait("it is used as soon as it is there", || {
        let number = ended(&server, "answered").to_string();
        chat(&server, &certain(&number));
        ended(&server, "answered") > 0 && redis.ask(&["DBSIZE"]) != "0"
    });
    let begun = lines("Redis cannot be used");
    wait("its end is logged", || lines("Redis can be used again") == begun);
    redis.kill();
    wait("the next outage is logged", || {
        chat(&server, &certain("b"));
        lines("Redis cannot be used") > begun
    });
}
