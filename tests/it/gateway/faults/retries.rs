//! How often requests are tried again, and which are not.

use serde_json::{Value, json};

use crate::gateway::support::{End, Mock, Setup, ask, gateway, outcomes, whole};

/// A request that leaves something behind.
fn stored() -> Value {
    let mut body = whole();
    body["store"] = json!(true);
    body
}

fn asked(mocks: &[&Mock]) -> u64 {
    mocks.iter().map(|mock| mock.counts().requests_total).sum()
}

#[test]
fn where_all_fails_attempts_are_bounded() {
    let (a, b) = (Mock::start(&["--error-rate=1"]), Mock::start(&["--error-rate=1"]));
    let rest = "[gateway]
        retries = 3\nretry_budget = 0.1\nretry_reserve = 10\nbreaker_requests = 1000000";
    let server = gateway(&[&a, &b], rest);
    for _ in 0..100 {
        assert_eq!(ask(&server, &whole()).end(), End::Refused(500));
    }
    let retries = server.metric("thermograph_gateway_retries_total");
    // The reserve and a tenth of all, of which the first found the reserve full.
    assert!((19..=20).contains(&retries), "{retries}");
    assert!(server.metric("thermograph_gateway_retries_refused_total") > 0);
    assert_eq!(asked(&[&a, &b]), 100 + retries);
}

#[test]
fn no_request_is_tried_more_often_than_is_configured() {
    let (a, b) = (Mock::start(&["--error-rate=1"]), Mock::start(&["--error-rate=1"]));
    for retries in [0, 1, 4] {
        let before = asked(&[&a, &b]);
        let server = gateway(&[&a, &b], &format!("[gateway]\nretries = {retries}"));
        assert_eq!(ask(&server, &whole()).end(), End::Refused(500));
        assert_eq!(asked(&[&a, &b]) - before, retries + 1);
    }
}

#[test]
fn what_is_stored_is_not_asked_for_twice() {
    let (a, b) = (Mock::start(&["--error-rate=1"]), Mock::start(&["--error-rate=1"]));
    let server = gateway(&[&a, &b], "");
    assert_eq!(ask(&server, &stored()).end(), End::Refused(500));
    assert_eq!(asked(&[&a, &b]), 1);
    for mock in [&a, &b] {
        mock.change(&json!({ "error_rate": 0, "cut_rate": 1 }));
    }
    assert_eq!(ask(&server, &stored()).end(), End::Refused(502));
    assert_eq!(asked(&[&a, &b]), 2);
    // Who has no time for it has not done anything.
    for mock in [&a, &b] {
        mock.change(&json!({ "error_rate": 1, "error_status": 429, "cut_rate": 0 }));
    }
    assert_eq!(ask(&server, &stored()).end(), End::Refused(429));
    assert!(asked(&[&a, &b]) > 3);
}

#[test]
fn what_is_stored_is_asked_for_elsewhere_where_it_never_left() {
    let (mut a, b) = (Mock::start(&[]), Mock::start(&[]));
    let each = r#"health = { interval = "1s", failures = 100 }"#;
    let server = Setup { each, ..Setup::of(&[&a, &b]) }.start();
    crate::support::wait("it was seen that both are there", || {
        crate::support::get(&server.api("/health/ready")).status == 200
    });
    a.kill();
    let sent = 30;
    for _ in 0..sent {
        assert_eq!(ask(&server, &stored()).end(), End::Answered);
    }
    assert_eq!(b.counts().answered, sent);
    assert!(outcomes(&server, "a", "connect") > 0);
}
