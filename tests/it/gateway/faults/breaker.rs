//! The breaker: who fails is left alone but for trials, and who is asked nonsense is not.

use crate::{
    gateway::support::{End, Load, Mock, Setup, ask, gateway, of_upstream, outcomes, whole},
    support::wait,
};

/// Health checks that leave it to the breaker for a good while.
const SLOW_CHECKS: &str = r#"health = { interval = "1s", failures = 100 }"#;

#[test]
fn one_of_three_that_is_gone_is_not_missed() {
    let mut a = Mock::start(&[]);
    let (b, c) = (Mock::start(&[]), Mock::start(&[]));
    let rest = "[gateway]\nbreaker_open = \"200ms\"";
    let server = Setup { each: SLOW_CHECKS, rest, ..Setup::of(&[&a, &b, &c]) }.start();
    let opened = || of_upstream(&server, "breaker_opened_total", "a");
    let load = Load::start(&server, 16);
    wait("all work", || [&a, &b, &c].iter().all(|mock| mock.counts().answered > 50));
    a.kill();
    wait("the breaker opens", || opened() > 0);
    let first = load.stop();
    let begun = first.count(&End::ErrorEvent);
    assert_eq!(first.count(&End::Answered) + begun, first.sent, "{first:?}");
    assert!(begun <= 16, "{first:?}");

    let (tried, opened_before) = (outcomes(&server, "a", "connect"), opened());
    let load = Load::start(&server, 16);
    wait("it was tried again and the others answer", || {
        opened() > opened_before + 1 && load.ended() > 1000
    });
    a.restart();
    wait("it is back", || a.counts().answered > 50);
    let second = load.stop();
    assert_eq!(second.count(&End::Answered), second.sent, "{second:?}");
    // Each of those who tried opened it again.
    assert_eq!(outcomes(&server, "a", "connect") - tried, opened() - opened_before);
    wait("it is closed", || of_upstream(&server, "breaker", "a") == 0);
}

#[test]
fn a_storm_of_bad_requests_opens_no_breaker() {
    let bad = ["--error-rate=1", "--error-status=400"];
    let (a, b) = (Mock::start(&bad), Mock::start(&bad));
    let server = gateway(&[&a, &b], "");
    let load = Load::start(&server, 1);
    wait("there is a storm", || load.ended() > 300);
    let tally = load.stop();
    assert_eq!(tally.count(&End::Refused(400)), tally.sent, "{tally:?}");
    let failed = |mock: &Mock| mock.counts().failed;
    assert_eq!(failed(&a) + failed(&b), tally.sent);
    for upstream in ["a", "b"] {
        assert_eq!(of_upstream(&server, "breaker_opened_total", upstream), 0);
        assert_eq!(of_upstream(&server, "breaker", upstream), 0);
    }
    assert_eq!(server.metric("thermograph_gateway_retries_total"), 0);
    for mock in [&a, &b] {
        mock.change(&serde_json::json!({ "error_rate": 0 }));
    }
    assert_eq!(ask(&server, &whole()).end(), End::Answered);
}
