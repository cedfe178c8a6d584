//! The ledger: a row for each request, whatever becomes of the database.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    thread,
};

use rustix::process::Signal;
use serde_json::json;

use super::support::{
    Mock, Postgres, Server, Store, ask,
    database::{self, Lock},
    files, request,
};
use crate::{
    gateway::support::{CHAT, Client, Reply, stream, whole},
    support::{give_way, post, wait},
};

/// Keeps asking with a key while `during` runs, which is told how many were answered by then. All
/// must be; how many it were in all.
fn under_load(server: &Server, key: &str, during: impl FnOnce(&AtomicI64)) -> i64 {
    let (stop, answered) = (AtomicBool::new(false), AtomicI64::new(0));
    thread::scope(|scope| {
        for place in 0..4 {
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || {
                give_way();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let mut client = Client::new(server.addresses.api);
                    let body = if place % 2 == 0 { whole() } else { stream() };
                    while !stop.load(Relaxed) {
                        let reply = Reply::read(client.send(request(key, &body)).await).await;
                        assert_eq!((reply.status, &reply.broken), (200, &None), "{reply:?}");
                        answered.fetch_add(1, Relaxed);
                    }
                });
            });
        }
        let result = catch_unwind(AssertUnwindSafe(|| during(&answered)));
        stop.store(true, Relaxed);
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    });
    answered.load(Relaxed)
}

fn wait_for_more(answered: &AtomicI64) {
    let before = answered.load(Relaxed);
    wait("more were answered", || answered.load(Relaxed) > before + 100);
}

fn stop(mut server: Server) {
    server.signal(Signal::INT);
    assert!(server.ended().success(), "{}", server.log());
}

#[test]
fn a_database_that_is_killed_under_load_fails_no_request_and_loses_no_row() {
    let mut postgres = Postgres::start();
    let (store, mock) = (Store::postgres(&postgres), Mock::start(&["--interval=1ms"]));
    // Keys are looked up again while it is away.
    let server = store.gateway(&mock, "require_keys = true\nkey_cache_ttl = \"300ms\"");
    let (_, key) = store.create(&[]);
    let mut asked = 1;
    assert_eq!(ask(&server, &key, &whole()).status, 200);
    asked += under_load(&server, &key, |answered| {
        for _ in 0..2 {
            wait_for_more(answered);
            postgres.kill9();
            wait("rows wait on the disk", || files(&store.spool()) > 0);
            wait_for_more(answered);
            postgres.restart();
            wait("nothing waits on the disk", || files(&store.spool()) == 0);
            wait_for_more(answered);
        }
    });
    assert!(server.metric("thermograph_ledger_spooled_total") > 0);
    stop(server);
    assert_eq!(store.rows(), asked);
    assert_eq!(store.number("SELECT COUNT(*) FROM ledger WHERE status <> 200"), 0);
    let tokens = "SELECT CAST(MIN(completion_tokens) AS BIGINT) FROM ledger WHERE NOT streamed";
    assert!(store.number(tokens) > 0);
}

#[test]
fn each_request_is_one_row_of_sqlite_whole_at_the_end() {
    let (store, mock) = (Store::sqlite(), Mock::start(&[]));
    // Batches of every length.
    let server = store.gateway(&mock, "flush_interval = \"30ms\"");
    let (id, key) = store.create(&[]);
    let asked = under_load(&server, &key, |answered| {
        wait("many were answered", || answered.load(Relaxed) > 1000);
    });
    assert_eq!(server.metric("thermograph_ledger_dropped_total"), 0);
    stop(server);
    assert_eq!((store.rows(), files(&store.spool())), (asked, 0));
    let ids = database::texts(&store.url, "SELECT DISTINCT key_id FROM ledger");
    assert_eq!(ids, [id]);
}

#[test]
fn what_could_not_be_written_before_the_end_is_written_after_the_next_start() {
    let mut postgres = Postgres::start();
    let (store, mock) = (Store::postgres(&postgres), Mock::start(&[]));
    let server = store.gateway(&mock, "");
    let (_, key) = store.create(&[]);
    assert_eq!(ask(&server, &key, &whole()).status, 200);
    postgres.stop();
    for _ in 0..5 {
        assert_eq!(ask(&server, &key, &whole()).status, 200);
    }
    // Of a key that is not remembered, nobody can tell now.
    let unknown = ask(&server, &format!("tg-{}", "a".repeat(43)), &whole());
    assert_eq!((unknown.status, unknown.header("retry-after")), (503, "1"));
    stop(server);
    assert!(files(&store.spool()) > 0);
    postgres.restart();
    let next = store.gateway(&mock, "");
    wait("the rows are written", || store.rows() == 6);
    assert_eq!(files(&store.spool()), 0);
    assert!(next.metric("thermograph_ledger_late_total") > 0);
}

#[test]
fn a_database_that_takes_nothing_is_waited_for_on_the_disk() {
    let (store, mock) = (Store::sqlite(), Mock::start(&[]));
    let server = store.gateway(&mock, "flush_timeout = \"200ms\"");
    let lock = Lock::take(&store.url);
    for _ in 0..20 {
        assert_eq!(post(&server.api(CHAT), &whole().to_string()).status, 200);
    }
    wait("rows wait on the disk", || server.metric("thermograph_ledger_spooled_total") > 0);
    assert!(server.metric("thermograph_ledger_spool_bytes") > 0);
    assert_eq!(server.metric("thermograph_ledger_spool_limit_bytes"), 256 << 20);
    assert_eq!(store.rows(), 0);
    drop(lock);
    wait("the rows are written", || store.rows() == 20);
    wait("nothing waits on the disk", || server.metric("thermograph_ledger_spool_bytes") == 0);
    assert_eq!(server.metric("thermograph_ledger_dropped_total"), 0);
}

#[test]
fn rows_that_find_no_room_on_the_disk_either_are_counted_and_said() {
    let (store, mock) = (Store::sqlite(), Mock::start(&[]));
    let bounds = "flush_timeout = \"50ms\"\nflush_interval = \"5ms\"\nspool_limit = \"4KiB\"";
    let server = store.gateway(&mock, bounds);
    let lock = Lock::take(&store.url);
    let dropped = || server.metric("thermograph_ledger_dropped_total{reason=\"spool_full\"}");
    let mut asked = 0;
    wait("rows are dropped", || {
        assert_eq!(post(&server.api(CHAT), &whole().to_string()).status, 200);
        asked += 1;
        dropped() > 0
    });
    drop(lock);
    wait("the others are written", || store.rows() + dropped().cast_signed() == asked);
    assert!(server.log().contains("rows of the ledger are lost"), "{}", server.log());
}

#[test]
fn a_row_says_how_a_request_ended() {
    let (store, mock) = (Store::sqlite(), Mock::start(&["--tokens=5", "--interval=20ms"]));
    let server = store.gateway(&mock, "");
    let mut asked = stream();
    asked["stream_options"] = json!({ "include_usage": true });
    assert_eq!(post(&server.api(CHAT), &asked.to_string()).status, 200);
    let mut unknown = whole();
    unknown["model"] = json!("no-such");
    assert_eq!(post(&server.api(CHAT), &unknown.to_string()).status, 404);
    let embeddings = json!({ "model": "mock", "input": ["a", "b"] }).to_string();
    assert_eq!(post(&server.api("/v1/embeddings"), &embeddings).status, 200);
    mock.change(&json!({ "latency": "10s" }));
    // It leaves before it has an answer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut client = Client::new(server.addresses.api);
        let body = whole();
        let asking = client.post(CHAT, &body);
        let arrived = async {
            while server.metric("thermograph_upstream_in_flight") == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = asking => panic!("it takes 10 s"),
            () = arrived => {}
        }
    });
    wait("the rows are written", || store.rows() == 4);
    let count = |statement| assert_eq!(store.number(statement), 1, "{statement}");
    count(
        "SELECT COUNT(*) FROM ledger WHERE status = 200 AND streamed AND endpoint = 'chat' AND completion_tokens = 5 AND upstream = 'a'",
    );
    count(
        "SELECT COUNT(*) FROM ledger WHERE status = 404 AND model = 'no-such' AND upstream IS NULL",
    );
    count(
        "SELECT COUNT(*) FROM ledger WHERE status = 200 AND endpoint = 'embeddings' AND prompt_tokens > 0",
    );
    count("SELECT COUNT(*) FROM ledger WHERE status = 499 AND duration_us > 0 AND key_id IS NULL");
}
