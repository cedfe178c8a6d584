//! Several instances, one Redis: what one has asked, the others know.

use serde_json::json;
use tokio::task::JoinSet;

use super::{ask, certain, certain_stream, chat, from, keeping};
use crate::{
    gateway::support::{CHAT, Client, End, Mock, crowd},
    support::{MODEL, Server, redis::Redis, wait},
};

/// Two instances with this Redis; what Redis is given here is time, since these machines are busy.
fn two(mock: &Mock, redis: &Redis) -> [Server; 2] {
    let rest = format!("[redis]\nurl = \"{}\"\ntimeout = \"5s\"", redis.url());
    [(); 2].map(|()| keeping(&[mock], &rest))
}

#[test]
fn what_one_has_asked_the_other_knows() {
    let (mock, redis) = (Mock::start(&[]), Redis::start());
    let [a, b] = two(&mock, &redis);
    let keys = |kind: &str| redis.ask(&["--scan", "--pattern", &format!("thermograph:{kind}*")]);
    for body in [certain("a"), certain_stream("a")] {
        let first = chat(&a, &body);
        assert_eq!((from(&first), first.end()), ("miss", End::Answered));
        let again = {
            let mut again = chat(&b, &body);
            // It is written when the answer is over.
            wait("the other knows", || {
                again = chat(&b, &body);
                from(&again) == "hit"
            });
            again
        };
        assert_eq!((again.end(), &again.body), (End::Answered, &first.body));
        assert_eq!(again.header("etag"), chat(&a, &body).header("etag"));
    }
    assert_eq!(keys("answer-1").lines().count(), 2, "{}", keys("answer-1"));
    assert!(
        redis.ask(&["TTL", keys("answer-1").lines().next().expect("a key")]).parse::<u32>().is_ok()
    );

    let body = json!({ "model": MODEL, "input": ["one", "two"] });
    let embed = |server| ask(server, "/v1/embeddings", &[], &body);
    let first = embed(&a);
    assert_eq!(from(&first), "miss");
    wait("both are written", || keys("vector-2").lines().count() == 2);
    let again = embed(&b);
    assert_eq!((from(&again), &again.body), ("hit", &first.body));
    assert_eq!(b.metric("thermograph_engine_inputs_total"), 0);
}

#[test]
fn a_thousand_equal_questions_to_two_instances_are_asked_once() {
    let (mock, redis) = (Mock::start(&["--latency=500ms"]), Redis::start());
    let instances = two(&mock, &redis);
    for body in [certain("a"), certain_stream("a")] {
        let before = mock.counts().requests_total;
        let replies = crowd().block_on(async {
            let ask = |number: usize| {
                let (address, body) = (instances[number % 2].addresses.api, body.clone());
                async move { Client::new(address).post(CHAT, &body).await }
            };
            (0..1000).map(ask).collect::<JoinSet<_>>().join_all().await
        });
        let ends = replies.iter().filter(|reply| reply.end() == End::Answered);
        assert_eq!(
            ends.count(),
            1000,
            "{:?}",
            replies.iter().find(|reply| reply.end() != End::Answered)
        );
        assert!(replies.iter().all(|reply| reply.body == replies[0].body));
        assert_eq!(mock.counts().requests_total, before + 1);
    }
    wait("no lock is left", || redis.ask(&["--scan", "--pattern", "*:lock"]).is_empty());
}

#[test]
fn what_nobody_of_us_wrote_is_not_read() {
    let (mock, redis) = (Mock::start(&[]), Redis::start());
    let [a, b] = two(&mock, &redis);
    assert_eq!(from(&chat(&a, &certain("a"))), "miss");
    let mut key = String::new();
    wait("it is written", || {
        key = redis.ask(&["--scan", "--pattern", "thermograph:answer-1:*"]);
        !key.is_empty() && !key.ends_with(":lock")
    });
    redis.ask(&["SET", &key, "nonsense"]);
    assert_eq!(from(&chat(&b, &certain("a"))), "miss");
    assert_eq!(
        b.metric(r#"thermograph_cache_not_kept_total{kind="answer-1",reason="corrupt"}"#),
        1
    );
    assert_eq!(mock.counts().requests_total, 2);
}

#[test]
fn who_is_killed_while_it_asks_is_not_waited_for_for_ever() {
    let (mock, redis) = (Mock::start(&["--latency=10m"]), Redis::start());
    let [a, b] = two(&mock, &redis);
    let body = certain("a");
    let address = a.addresses.api;
    crowd().block_on(async {
        let theirs = body.clone();
        let first = tokio::spawn(async move { Client::new(address).post(CHAT, &theirs).await });
        tokio::task::block_in_place(|| {
            wait("one asks", || mock.counts().in_flight == 1);
            a.signal(rustix::process::Signal::KILL);
            mock.change(&json!({ "latency": "0s" }));
        });
        first.abort();
    });
    // The lock of the one that was killed ends by itself, before `longest_wait` is over.
    let reply = chat(&b, &body);
    assert_eq!((from(&reply), reply.end()), ("miss", End::Answered));
}
