//! Who gets which requests: by weight, and by session.

use std::collections::BTreeMap;

use crate::{
    gateway::support::{End, Load, Mock, Setup, ask_with, whole},
    support::{Server, wait},
};

const STICKY: &str = r#"sticky = { header = "x-session-id" }"#;

/// Which upstream answers each session.
fn places(server: &Server) -> BTreeMap<u32, String> {
    let place = |session: u32| {
        let headers = [("x-session-id", &*session.to_string())];
        let reply = ask_with(server, &headers, &whole().to_string());
        assert_eq!(reply.end(), End::Answered, "{reply:?}");
        (session, reply.header("x-thermograph-upstream").to_owned())
    };
    (0..40).map(place).collect()
}

#[test]
fn a_session_stays_where_it_is_as_long_as_that_is_there() {
    let mut a = Mock::start(&[]);
    let (b, c) = (Mock::start(&[]), Mock::start(&[]));
    let server = Setup { model: STICKY, ..Setup::of(&[&a, &b, &c]) }.start();
    let before = places(&server);
    assert_eq!(places(&server), before);
    for (name, mock) in [("a", &a), ("b", &b), ("c", &c)] {
        let sessions = before.values().filter(|place| *place == name).count() as u64;
        assert!(sessions > 0, "{before:?}");
        assert_eq!(mock.counts().answered, 2 * sessions);
    }
    a.kill();
    let after = places(&server);
    for (session, place) in &before {
        let moved = after[session] != *place;
        assert_eq!(moved, place == "a", "session {session}: {place}, {}", after[session]);
    }
    let of_a = || before.iter().filter(|(_, place)| *place == "a");
    assert!(of_a().any(|(session, _)| after[session] == "b"), "{after:?}");
    assert!(of_a().any(|(session, _)| after[session] == "c"), "{after:?}");
    a.restart();
    wait("they come back", || places(&server) == before);
}

#[test]
fn a_weight_is_a_share() {
    let latency = ["--latency=100ms"];
    let (a, b) = (Mock::start(&latency), Mock::start(&latency));
    let model = r#"upstreams = ["a", { name = "b", weight = 3 }]"#;
    let server = Setup { model, ..Setup::of(&[&a, &b]) }.start();
    for (clients, requests) in [(32, 900), (1, 60)] {
        let (a_before, b_before) = (a.counts().answered, b.counts().answered);
        let load = Load::start(&server, clients);
        wait("there were many", || load.ended() > requests);
        let tally = load.stop();
        assert_eq!(tally.count(&End::Answered), tally.sent, "{tally:?}");
        let (a, b) = (a.counts().answered - a_before, b.counts().answered - b_before);
        assert_eq!(a + b, tally.sent);
        let share = b as f64 / tally.sent as f64;
        assert!((0.5..0.95).contains(&share), "{clients} clients: {share}");
    }
}
