//! Upstreams that close the connection in the middle of an answer.

use crate::gateway::support::{End, Mock, ask, gateway, of_upstream, outcomes, stream, whole};

#[test]
fn a_stream_that_is_cut_ends_with_an_error() {
    let mock = Mock::start(&["--cut-rate=1", "--cut-after=4", "--interval=1ms"]);
    let server = gateway(&[&mock], "");
    let reply = ask(&server, &stream());
    assert_eq!((reply.status, reply.end()), (200, End::ErrorEvent));
    // The role, four tokens and the error.
    let events = reply.events();
    assert_eq!(events.len(), 6, "{events:?}");
    assert_eq!(events[5]["error"]["code"], "broken");
    let counts = mock.counts();
    assert_eq!((counts.requests_total, counts.cut), (1, 1));
    assert_eq!((outcomes(&server, "a", "broken"), outcomes(&server, "a", "answered")), (1, 0));
}

#[test]
fn a_stream_that_is_cut_in_the_middle_of_an_event_ends_after_the_one_before() {
    let mock = Mock::start(&["--cut-rate=1", "--cut-after=4", "--piece=7"]);
    let server = gateway(&[&mock], "");
    for _ in 0..4 {
        let reply = ask(&server, &stream());
        assert_eq!(reply.end(), End::ErrorEvent, "{reply:?}");
    }
    assert_eq!(mock.counts().cut, 4);
}

#[test]
fn who_cuts_every_stream_is_left_alone_after_a_while() {
    let mock = Mock::start(&["--cut-rate=1"]);
    let rules = "[gateway]\nbreaker_failures = 1\nbreaker_requests = 5\nbreaker_open = \"1h\"";
    let server = gateway(&[&mock], rules);
    for turn in 0..5 {
        assert_eq!(of_upstream(&server, "breaker_opened_total", "a"), 0, "{turn}");
        assert_eq!(ask(&server, &stream()).end(), End::ErrorEvent);
    }
    assert_eq!(of_upstream(&server, "breaker_opened_total", "a"), 1);
    assert_eq!(ask(&server, &stream()).end(), End::Refused(503));
    assert_eq!(mock.counts().requests_total, 5);
}

#[test]
fn an_answer_that_is_cut_is_asked_for_elsewhere() {
    let (a, b) = (Mock::start(&["--cut-rate=1"]), Mock::start(&[]));
    let server = gateway(&[&a, &b], "");
    let asked = 40;
    for _ in 0..asked {
        assert_eq!(ask(&server, &whole()).end(), End::Answered);
    }
    assert_eq!(b.counts().answered, asked);
    let counts = a.counts();
    assert!(counts.cut > 0, "{counts:?}");
    assert_eq!(counts.cut, counts.requests_total);
    assert_eq!(outcomes(&server, "a", "broken"), counts.cut);
}

#[test]
fn where_all_cut_it_is_a_502() {
    let mock = Mock::start(&["--cut-rate=1"]);
    let server = gateway(&[&mock], "");
    let reply = ask(&server, &whole());
    assert_eq!((reply.status, reply.error()["code"].as_str()), (502, Some("broken")));
    assert_eq!(mock.counts().cut, 3);
}
