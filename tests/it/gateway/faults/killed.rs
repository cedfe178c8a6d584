//! An upstream that ends without a word in the middle of a load.

use crate::{
    gateway::support::{End, Load, Mock, gateway, outcomes},
    support::wait,
};

#[test]
fn a_killed_upstream_costs_only_streams_that_had_begun() {
    let pace = ["--latency=5ms..15ms", "--interval=1ms"];
    let (mut a, b) = (Mock::start(&pace), Mock::start(&pace));
    let server = gateway(&[&a, &b], "");
    let load = Load::start(&server, 32);
    wait("both work", || a.counts().answered > 100 && b.counts().answered > 100);
    a.kill();
    let killed = load.ended();
    wait("it goes on with one", || load.ended() > killed + 500);
    a.restart();
    wait("the other is back", || a.counts().answered > 100);
    let tally = load.stop();
    let begun = tally.count(&End::ErrorEvent);
    assert!(begun <= 32, "{tally:?}");
    assert_eq!(tally.count(&End::Answered) + begun, tally.sent, "{tally:?}");
    let by = |upstream| outcomes(&server, upstream, "answered");
    assert_eq!(by("a") + by("b"), tally.count(&End::Answered), "{tally:?}");
    let counts = b.counts();
    assert_eq!(by("b"), counts.answered);
    assert_eq!(counts.requests_total, counts.answered, "{counts:?}");
}
