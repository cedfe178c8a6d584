//! Upstreams that answer bit by bit, or stop in the middle of it.

use crate::{
    gateway::support::{End, Mock, Setup, ask, gateway, stream, whole},
    support::wait,
};

const IMPATIENT: &str = r#"between_bytes_timeout = "200ms""#;

#[test]
fn slow_bytes_pass() {
    let mock = Mock::start(&["--tokens=2", "--piece=1", "--piece-interval=1ms"]);
    let server = gateway(&[&mock], "");
    for body in [whole(), stream()] {
        assert_eq!(ask(&server, &body).end(), End::Answered);
    }
    let counts = mock.counts();
    assert_eq!((counts.requests_total, counts.answered), (2, 2));
}

#[test]
fn a_stream_that_goes_silent_ends_with_an_error() {
    let mock = Mock::start(&["--stall-rate=1", "--stall-after=4"]);
    let server = Setup { each: IMPATIENT, ..Setup::of(&[&mock]) }.start();
    let reply = ask(&server, &stream());
    assert_eq!((reply.status, reply.end()), (200, End::ErrorEvent));
    // The role, four tokens and the error.
    let events = reply.events();
    assert_eq!(events.len(), 6, "{events:?}");
    assert_eq!(events[5]["error"]["code"], "timeout");
    wait("nobody waits for it any more", || mock.counts().in_flight == 0);
    let counts = mock.counts();
    assert_eq!((counts.requests_total, counts.stalled, counts.abandoned), (1, 1, 1));
}

#[test]
fn an_answer_that_goes_silent_is_asked_for_elsewhere() {
    let (a, b) = (Mock::start(&["--stall-rate=1"]), Mock::start(&[]));
    let server = Setup { each: IMPATIENT, ..Setup::of(&[&a, &b]) }.start();
    let asked = 40;
    for _ in 0..asked {
        assert_eq!(ask(&server, &whole()).end(), End::Answered);
    }
    assert_eq!(b.counts().answered, asked);
    wait("nobody waits for it any more", || a.counts().in_flight == 0);
    let counts = a.counts();
    assert!(counts.stalled > 0, "{counts:?}");
    assert_eq!((counts.stalled, counts.abandoned), (counts.requests_total, counts.requests_total));
}
