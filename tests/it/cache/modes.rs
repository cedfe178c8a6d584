//! Redis that becomes a replica, and Redis that is a cluster.

use std::{
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{certain, chat, from, keeping};
use crate::{
    gateway::support::Mock,
    support::{
        Server, ended, free_address,
        redis::{Name, Redis},
        thermograph, wait,
    },
};

fn redis(url: &str) -> String {
    format!("[redis]\nurl = \"{url}\"\ntimeout = \"5s\"")
}

/// Asks something new each time, until a Redis has got an answer to keep.
fn is_written_to(server: &Server, redis: &Redis) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let keys = redis.ask(&["DBSIZE"]);
    wait("answers are written to the primary", || {
        let number = NUMBER.fetch_add(1, Relaxed).to_string();
        assert_eq!(from(&chat(server, &certain(&number))), "miss");
        redis.ask(&["DBSIZE"]) != keys
    });
}

#[test]
fn primary_that_becomes_a_replica_is_left_for_the_new_one() {
    let (mock, old, new) = (Mock::start(&[]), Redis::start(), Redis::start());
    let name = Name::of(&old);
    let server = keeping(&[&mock], &redis(&name.url()));
    is_written_to(&server, &old);
    // The connection stays, and its server takes no more writes.
    old.replicate(&new);
    name.move_to(&new);
    is_written_to(&server, &new);
    // And back.
    assert_eq!(old.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    new.replicate(&old);
    name.move_to(&old);
    is_written_to(&server, &old);
}

#[test]
fn replica_without_its_primary_is_left_for_the_new_one() {
    let (mock, old, new) = (Mock::start(&[]), Redis::start(), Redis::start());
    let name = Name::of(&old);
    let server = keeping(&[&mock], &redis(&name.url()));
    is_written_to(&server, &old);
    assert_eq!(old.ask(&["CONFIG", "SET", "replica-serve-stale-data", "no"]), "OK");
    let nobody = free_address();
    let (host, port) = (nobody.ip().to_string(), nobody.port().to_string());
    assert_eq!(old.ask(&["REPLICAOF", &host, &port]), "OK");
    assert!(old.ask(&["GET", "a"]).starts_with("MASTERDOWN"));
    name.move_to(&new);
    is_written_to(&server, &new);
}

#[test]
fn redis_that_is_a_cluster_stops_the_start() {
    let cluster = Redis::cluster();
    let mut program = thermograph();
    program.args(["serve", "--listen", "127.0.0.1:0", "--diagnostics-listen", "127.0.0.1:0"]);
    program.args(["--console-listen", "127.0.0.1:0"]);
    program.env("THERMOGRAPH_REDIS_URL", cluster.url()).stderr(Stdio::piped());
    let mut child = program.spawn().expect("started");
    assert!(!ended(&mut child).success());
    let output = child.wait_with_output().expect("an output");
    let error = String::from_utf8_lossy(&output.stderr);
    let said = "redis.url: the server runs in cluster mode: expected a single primary";
    assert!(error.contains(said), "{error}");
}

#[test]
fn redis_that_turns_out_to_be_a_cluster_is_not_used() {
    let mock = Mock::start(&[]);
    let mut cluster = Redis::cluster();
    cluster.kill();
    let server = keeping(&[&mock], &redis(&cluster.url()));
    assert_eq!(from(&chat(&server, &certain("a"))), "miss");
    cluster.restart();
    let mut number = 0;
    wait("it is known to be a cluster", || {
        number += 1;
        chat(&server, &certain(&number.to_string()));
        server.metric(r#"thermograph_redis_requests_total{outcome="cluster"}"#) > 2
    });
    assert_eq!(server.log().matches("the server runs in cluster mode").count(), 1);
    assert_eq!(from(&chat(&server, &certain("a"))), "hit");
    let answered = server.metric(r#"thermograph_redis_requests_total{outcome="answered"}"#);
    assert_eq!((answered, cluster.ask(&["DBSIZE"]).as_str()), (0, "0"));
}
