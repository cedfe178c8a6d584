//! Limits of requests and tokens in a minute, however many ask and wherever.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::support::{Mock, Server, Store, ask, request};
use crate::{
    gateway::support::{Client, Reply, crowd, whole},
    support::{
        redis::{Name, Redis},
        wait,
    },
};

const CLIENTS: usize = 64;
const MINUTE: Duration = Duration::from_mins(1);

/// What was answered: when it was asked, and with how many tokens.
type Answered = Vec<(Instant, u64)>;

/// A chat whose answer has 16 tokens at most.
fn bounded() -> Value {
    let mut body = whole();
    body["max_tokens"] = json!(16);
    body
}

/// Two instances that share a database and Redis, which is given time: these machines are busy.
fn two(store: &Store, mock: &Mock, redis: &Redis) -> [Server; 2] {
    let rest = format!("[redis]\nurl = \"{}\"\ntimeout = \"5s\"", redis.url());
    [(); 2].map(|()| store.gateway(mock, &rest))
}

/// Asks with many clients, until so many in a row were refused; what was answered.
fn race(servers: &[Server], key: &str) -> Answered {
    const REFUSALS: u64 = 20 * CLIENTS as u64;
    let (answered, refused) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    let client = |number: usize| {
        let (answered, refused) = (Arc::clone(&answered), Arc::clone(&refused));
        let (address, key) = (servers[number % servers.len()].addresses.api, key.to_owned());
        async move {
            let mut client = Client::new(address);
            while refused.load(Relaxed) < REFUSALS {
                let asked = Instant::now();
                let reply = Reply::read(client.send(request(&key, &bounded())).await).await;
                if reply.status == 429 {
                    refused.fetch_add(1, Relaxed);
                    continue;
                }
                assert_eq!(reply.status, 200, "{reply:?}");
                refused.store(0, Relaxed);
                let tokens = reply.json()["usage"]["total_tokens"].as_u64().expect("a number");
                answered.lock().expect("no panic").push((asked, tokens));
            }
        }
    };
    crowd().block_on(async {
        (0..CLIENTS).map(client).collect::<JoinSet<_>>().join_all().await;
    });
    let mut answered = std::mem::take(&mut *answered.lock().expect("no panic"));
    answered.sort_unstable();
    answered
}

/// The most of any minute, and all of it.
fn most(answered: &Answered, of: impl Fn(u64) -> u64) -> (u64, u64) {
    let minute = |place: usize| {
        let first = answered[place].0;
        let within = answered[place..].iter().take_while(|(asked, _)| *asked - first < MINUTE);
        within.map(|(_, tokens)| of(*tokens)).sum()
    };
    let all = answered.iter().map(|(_, tokens)| of(*tokens)).sum();
    ((0..answered.len()).map(minute).max().unwrap_or_default(), all)
}

#[test]
fn no_minute_has_more_requests_than_the_limit_over_two_instances() {
    let (store, mock, redis) = (Store::sqlite(), Mock::start(&[]), Redis::start());
    let servers = two(&store, &mock, &redis);
    let (_, key) = store.create(&["--requests-per-minute=400"]);
    let (most, all) = most(&race(&servers, &key), |_| 1);
    assert!(most <= 400, "{most} in a minute");
    assert!(all >= 380, "{all} of 400");
    let alone = |server: &Server| server.metric("thermograph_limits_without_redis_total");
    assert_eq!(servers.iter().map(alone).sum::<u64>(), 0);
}

#[test]
fn no_minute_has_more_tokens_than_the_limit_over_two_instances() {
    let (store, mock, redis) = (Store::sqlite(), Mock::start(&["--latency=5ms"]), Redis::start());
    let servers = two(&store, &mock, &redis);
    let (_, key) = store.create(&["--tokens-per-minute=6000"]);
    let (most, all) = most(&race(&servers, &key), |tokens| tokens);
    assert!(most <= 6000, "{most} in a minute");
    assert!(all >= 5700, "{all} of 6000");
}

#[test]
fn one_instance_without_redis_keeps_limits_too() {
    let (store, mock) = (Store::sqlite(), Mock::start(&[]));
    let server = [store.gateway(&mock, "")];
    let (_, key) = store.create(&["--requests-per-minute=300"]);
    let (most, all) = most(&race(&server, &key), |_| 1);
    assert!(most <= 300 && all >= 285, "{most} in a minute, {all} of 300");
}

#[test]
fn a_client_is_told_how_it_stands_and_when_to_come_again() {
    let (store, mock) = (Store::sqlite(), Mock::start(&["--tokens=16"]));
    let server = store.gateway(&mock, "[cache]\nanswers = \"1MiB\"");
    let (id, key) = store.create(&["--requests-per-minute=3", "--tokens-per-minute=1000"]);
    let first = ask(&server, &key, &bounded());
    assert_eq!((first.status, first.header("x-ratelimit-limit-requests")), (200, "3"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), "2");
    assert_eq!(first.header("x-ratelimit-limit-tokens"), "1000");
    let left: u64 = first.header("x-ratelimit-remaining-tokens").parse().expect("a number");
    assert!((900..1000).contains(&left), "{left}");
    assert!(first.header("x-ratelimit-reset-tokens").ends_with('s'), "{first:?}");

    let mut large = bounded();
    large["max_tokens"] = json!(2000);
    let refused = ask(&server, &key, &large);
    assert_eq!((refused.status, refused.header("x-should-retry")), (429, "false"));
    let error = refused.error();
    assert_eq!((&error["type"], &error["code"]), (&json!("tokens"), &json!("rate_limit_exceeded")));
    assert!(error["message"].as_str().is_some_and(|text| text.contains(&id)), "{error}");

    for _ in 0..2 {
        assert_eq!(ask(&server, &key, &bounded()).status, 200);
    }
    let refused = ask(&server, &key, &bounded());
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining-requests")), (429, "0"));
    assert_eq!(refused.error()["type"], "requests");
    let after: u64 = refused.header("retry-after").parse().expect("seconds");
    let after_millis: u64 = refused.header("retry-after-ms").parse().expect("milliseconds");
    assert!((1..=62).contains(&after) && after_millis <= after * 1000, "{refused:?}");
    assert_eq!(mock.counts().requests_total, 3);
    let refused = |kind: &str| {
        server.metric(&format!(r#"thermograph_limits_refused_total{{kind="{kind}"}}"#))
    };
    assert_eq!((refused("requests"), refused("tokens")), (1, 1));
}

#[test]
fn what_is_kept_costs_no_tokens() {
    let (store, mock) = (Store::sqlite(), Mock::start(&["--tokens=16"]));
    let server = store.gateway(&mock, "[cache]\nanswers = \"1MiB\"");
    let (_, key) = store.create(&["--tokens-per-minute=60", "--monthly-tokens=60"]);
    let mut body = bounded();
    body["temperature"] = json!(0);
    for expected in ["miss", "hit", "hit", "hit", "hit", "hit"] {
        let answered = ask(&server, &key, &body);
        assert_eq!((answered.status, answered.header("x-cache")), (200, expected), "{answered:?}");
    }
    crate::support::wait("the rows are written", || store.rows() == 6);
    assert_eq!(
        store.number("SELECT COUNT(*) FROM ledger WHERE cached AND completion_tokens = 16"),
        5
    );
}

#[test]
fn limits_are_kept_in_the_new_primary() {
    let (store, mock) = (Store::sqlite(), Mock::start(&[]));
    let (old, new) = (Redis::start(), Redis::start());
    let name = Name::of(&old);
    let rest = format!("[redis]\nurl = \"{}\"\ntimeout = \"5s\"", name.url());
    let server = store.gateway(&mock, &rest);
    let (_, key) = store.create(&["--requests-per-minute=100000"]);
    let is_counted_in = |redis: &Redis| {
        wait("limits are in the primary", || {
            assert_eq!(ask(&server, &key, &bounded()).status, 200);
            !redis.ask(&["KEYS", "*:limit:*"]).is_empty()
        });
    };
    is_counted_in(&old);
    // Scripts fail on a replica, too.
    old.replicate(&new);
    name.move_to(&new);
    is_counted_in(&new);
}
