//! A second upstream, asked where the first one takes long.

use crate::{
    gateway::support::{End, Mock, Setup, ask, outcomes, stream, whole},
    support::wait,
};

#[test]
fn where_one_is_slow_the_other_answers() {
    let (a, b) = (Mock::start(&["--latency=10m"]), Mock::start(&[]));
    let server = Setup { model: r#"hedge_after = "50ms""#, ..Setup::of(&[&a, &b]) }.start();
    let asked = 40;
    for body in [whole(), stream()].iter().cycle().take(asked) {
        let reply = ask(&server, body);
        assert_eq!(reply.end(), End::Answered, "{reply:?}");
        assert_eq!(reply.header("x-thermograph-upstream"), "b");
    }
    assert_eq!(b.counts().answered, asked as u64);
    wait("nobody waits for it any more", || a.counts().in_flight == 0);
    let counts = a.counts();
    assert_eq!(counts.abandoned, counts.requests_total);
    assert_eq!(server.metric("thermograph_gateway_hedges_total"), counts.requests_total);
    assert_eq!(outcomes(&server, "a", "left"), counts.requests_total);
    // Asked once or twice, it is known to be slow.
    assert!((1..=4).contains(&counts.requests_total), "{counts:?}");
}
