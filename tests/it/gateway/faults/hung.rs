//! An upstream that takes requests and never answers.

use crate::{
    gateway::support::{End, Load, Mock, Setup, ask, outcomes, whole},
    support::wait,
};

const IMPATIENT: &str = r#"first_byte_timeout = "200ms""#;
const RETRY: &str = "[gateway]\nretry_timeouts = true";

#[test]
fn a_hung_upstream_is_passed_over() {
    let (a, b) = (Mock::start(&["--hang-rate=1"]), Mock::start(&[]));
    let server = Setup { each: IMPATIENT, rest: RETRY, ..Setup::of(&[&a, &b]) }.start();
    let load = Load::start(&server, 16);
    wait("it was asked and the other answers", || {
        a.counts().hung >= 5 && b.counts().answered > 500
    });
    let tally = load.stop();
    assert_eq!(tally.count(&End::Answered), tally.sent, "{tally:?}");
    wait("nobody waits for it any more", || a.counts().in_flight == 0);
    let counts = a.counts();
    assert_eq!((counts.hung, counts.abandoned), (counts.requests_total, counts.requests_total));
    assert_eq!(outcomes(&server, "a", "timeout"), counts.requests_total);
    assert_eq!(b.counts().answered, tally.sent);
}

#[test]
fn where_all_hang_it_is_a_504() {
    let mock = Mock::start(&["--hang-rate=1"]);
    let server = Setup { each: IMPATIENT, rest: RETRY, ..Setup::of(&[&mock]) }.start();
    let reply = ask(&server, &whole());
    assert_eq!((reply.status, reply.error()["code"].as_str()), (504, Some("timeout")));
    wait("nobody waits for it any more", || mock.counts().in_flight == 0);
    // Asked, and asked again twice.
    let counts = mock.counts();
    assert_eq!((counts.hung, counts.abandoned, counts.requests_total), (3, 3, 3));
}

#[test]
fn request_that_timed_out_is_not_tried_again_by_default() {
    let (a, b) = (Mock::start(&["--hang-rate=1"]), Mock::start(&["--hang-rate=1"]));
    // Shorter than the time for a connection, which does not add to it.
    let each = "first_byte_timeout = \"200ms\"\nconnect_timeout = \"1h\"";
    let server = Setup { each, ..Setup::of(&[&a, &b]) }.start();
    let reply = ask(&server, &whole());
    assert_eq!((reply.status, reply.error()["code"].as_str()), (504, Some("timeout")));
    let asked = |mock: &Mock| mock.counts().requests_total;
    assert_eq!(asked(&a) + asked(&b), 1);
}

#[test]
fn who_has_used_up_the_time_of_the_whole_request_asks_nobody_else() {
    let (a, b) = (Mock::start(&["--hang-rate=1"]), Mock::start(&["--hang-rate=1"]));
    let each = r#"request_timeout = "300ms""#;
    let server = Setup { each, ..Setup::of(&[&a, &b]) }.start();
    assert_eq!(ask(&server, &whole()).end(), End::Refused(504));
    let asked = |mock: &Mock| mock.counts().requests_total;
    assert_eq!(asked(&a) + asked(&b), 1);
    assert_eq!(server.metric("thermograph_gateway_retries_total"), 0);
}
