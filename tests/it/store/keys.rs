//! Keys from their making to their end, on both databases and on two instances.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Mock, Postgres, Server, Store, ask, created, get};
use crate::{
    gateway::support::whole,
    support::{self, wait},
};

const REQUIRED: &str = "require_keys = true";

#[test]
fn a_key_lives_and_ends_on_sqlite() {
    lives_and_ends(&Store::sqlite());
}

#[test]
fn a_key_lives_and_ends_on_postgres() {
    let postgres = Postgres::start();
    lives_and_ends(&Store::postgres(&postgres));
}

fn lives_and_ends(store: &Store) {
    let mock = Mock::start(&[]);
    let [one, two] = [(); 2].map(|()| store.gateway(&mock, REQUIRED));
    let (id, key) = store.create(&["--model=mo*k", "--expires=1d"]);

    let answered = ask(&one, &key, &whole());
    assert_eq!(answered.status, 200, "{answered:?}");
    let mut other = whole();
    other["model"] = json!("other");
    let hidden = ask(&one, &key, &other);
    assert_eq!((hidden.status, &hidden.error()["code"]), (404, &json!("model_not_found")));
    let models = get(&one, &key, "/v1/models").json();
    let ids: Vec<_> = models["data"].as_array().expect("a list").iter().map(|m| &m["id"]).collect();
    assert_eq!(ids, ["mock"]);
    assert_eq!(get(&one, &key, "/v1/models/other").status, 404);

    let (_, report) = store.create(&["--scope=usage"]);
    let forbidden = ask(&one, &report, &whole());
    assert_eq!((forbidden.status, forbidden.header("x-should-retry")), (403, "false"));
    assert_eq!(get(&one, &report, "/v1/usage?key=all").status, 200);
    assert_eq!(get(&one, &key, "/v1/usage?key=all").status, 403);

    let rotated = store.keys(&["rotate", &id, "--grace=0s"]);
    let (newer, new) = created(&rotated);
    assert_eq!(ask(&one, &new, &whole()).status, 200);
    gone_within_a_second(&[&one, &two], &key);

    assert_eq!(ask(&two, &new, &whole()).status, 200);
    let revoked = store.keys(&["revoke", &newer]);
    assert!(revoked.status.success(), "{revoked:?}");
    gone_within_a_second(&[&one, &two], &new);

    let listed = store.keys(&["list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed.as_array().expect("a list").len(), 3);
    let table = store.keys(&["list"]);
    let table = String::from_utf8(table.stdout).expect("text");
    assert!(table.contains("revoked") && table.contains("expired"), "{table}");
    for secret in [&key, &new, &report] {
        assert!(!table.contains(&**secret) && !listed.to_string().contains(&**secret), "{table}");
    }
}

/// The promise is a second from when the command has returned.
fn gone_within_a_second(servers: &[&Server], key: &str) {
    let since = Instant::now();
    for server in servers {
        wait("the key is good nowhere", || {
            let refused = ask(server, key, &whole());
            if refused.status == 200 {
                return false;
            }
            assert_eq!(refused.status, 401, "{refused:?}");
            assert_eq!(refused.header("x-should-retry"), "false");
            assert_eq!(refused.header("www-authenticate"), "Bearer");
            assert_eq!(refused.error()["code"], "invalid_api_key");
            true
        });
    }
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[test]
fn tokens_of_a_month_are_used_up() {
    let (store, mock) = (Store::sqlite(), Mock::start(&["--tokens=10"]));
    let server = store.gateway(&mock, "");
    let (_, key) = store.create(&["--monthly-tokens=15"]);
    assert_eq!(ask(&server, &key, &whole()).status, 200);
    let mut last = ask(&server, &key, &whole());
    wait("they are used up", || {
        last = ask(&server, &key, &whole());
        last.status != 200
    });
    assert_eq!((last.status, last.header("x-should-retry")), (429, "false"));
    let error = last.error();
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("insufficient_quota"), &json!("insufficient_quota"))
    );
    // Another process knows of it once the rows are there.
    wait("the rows are written", || store.rows() >= 3);
    let another = store.gateway(&mock, "");
    assert_eq!(ask(&another, &key, &whole()).status, 429);
}

#[test]
fn without_a_need_of_keys_strangers_are_served_and_keys_of_ours_are_still_keys() {
    let (store, mock) = (Store::sqlite(), Mock::start(&[]));
    let server = store.gateway(&mock, "");
    assert_eq!(
        support::post(&server.api("/v1/chat/completions"), &whole().to_string()).status,
        200
    );
    assert_eq!(ask(&server, "sk-somebody-else-s", &whole()).status, 200);
    let looks_like_ours = format!("tg-{}", "a".repeat(43));
    assert_eq!(ask(&server, &looks_like_ours, &whole()).status, 401);
    assert_eq!(support::get(&server.api("/v1/usage")).status, 401);
    let (id, key) = store.create(&[]);
    assert_eq!(ask(&server, &key, &whole()).status, 200);
    assert!(store.keys(&["revoke", &id]).status.success());
    gone_within_a_second(&[&server], &key);
}
