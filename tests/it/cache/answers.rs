//! Answers in chats: which are kept, and that they come again as they were.

use serde_json::json;

use super::{ask, certain, certain_stream, chat, from, keeping};
use crate::gateway::support::{CHAT, End, Mock, gateway, whole};

#[test]
fn an_answer_comes_again_as_it_was() {
    let mock = Mock::start(&[]);
    let server = keeping(&[&mock], "");
    for body in [certain("a"), certain_stream("a")] {
        let first = chat(&server, &body);
        assert_eq!((from(&first), first.end()), ("miss", End::Answered), "{first:?}");
        let again = chat(&server, &body);
        assert_eq!((from(&again), again.end()), ("hit", End::Answered), "{again:?}");
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("content-type"), first.header("content-type"));
        again.header("age").parse::<u64>().expect("seconds");
        let third = chat(&server, &body);
        assert!(third.header("etag").starts_with("W/\""), "{third:?}");
        assert_eq!(third.header("etag"), again.header("etag"));
        assert_ne!(third.header("x-request-id"), again.header("x-request-id"));
    }
    assert_eq!(mock.counts().requests_total, 2);
    let lookups = r#"thermograph_cache_lookups_total{kind="answer-1",result="memory"}"#;
    assert_eq!(server.metric(lookups), 4);
}

#[test]
fn without_a_cache_nothing_is_kept() {
    let mock = Mock::start(&[]);
    let server = gateway(&[&mock], "");
    let headers = [("x-thermograph-cache", "use")];
    for _ in 0..2 {
        assert_eq!(from(&ask(&server, CHAT, &headers, &certain("a"))), "");
    }
    assert_eq!(mock.counts().requests_total, 2);
}

#[test]
fn the_client_decides() {
    let mock = Mock::start(&[]);
    let server = keeping(&[&mock], "");
    let said = |headers: &[(&str, &str)], body| from(&ask(&server, CHAT, headers, body)).to_owned();
    let (cold, hot) = (certain("a"), whole());
    let steps: [(&[(&str, &str)], _, &str); 12] = [
        (&[], &hot, ""),
        (&[("x-thermograph-cache", "use")], &hot, "miss"),
        (&[("x-thermograph-cache", "use")], &hot, "hit"),
        (&[("cache-control", "max-age=600")], &hot, "hit"),
        (&[], &hot, ""),
        (&[("x-thermograph-cache", "skip")], &cold, ""),
        (&[("cache-control", "no-store")], &cold, ""),
        (&[], &cold, "miss"),
        (&[("cache-control", "no-cache")], &cold, "miss"),
        (&[("cache-control", "only-if-cached")], &cold, "hit"),
        (&[("cache-control", "max-age=0")], &cold, "miss"),
        (&[("x-thermograph-cache", "refresh")], &cold, "miss"),
    ];
    for (headers, body, expected) in steps {
        assert_eq!(said(headers, body), expected, "{headers:?} {body}");
    }
    let asked = mock.counts().requests_total;
    assert_eq!(asked, 9);
    let only = [("cache-control", "only-if-cached")];
    let refused = ask(&server, CHAT, &only, &certain("something else"));
    assert_eq!((refused.status, refused.header("x-should-retry")), (504, "false"));
    assert_eq!(refused.error()["code"], "not_cached");
    let refused = ask(&server, CHAT, &[("x-thermograph-cache", "always")], &cold);
    assert_eq!(refused.status, 400);
    let message = refused.error()["message"].to_string();
    assert!(message.contains("`always`") && message.contains("use, refresh or skip"), "{message}");
    assert_eq!(mock.counts().requests_total, asked);
}

#[test]
fn tenants_have_their_own() {
    let mock = Mock::start(&[]);
    let own = keeping(&[&mock], "");
    let shared = keeping(&[&mock], "scope = \"shared\"");
    let said = |server, who| {
        let headers = [("authorization", who)];
        from(&ask(server, CHAT, &headers, &certain("a"))).to_owned()
    };
    assert_eq!(said(&own, "Bearer a"), "miss");
    assert_eq!(said(&own, "Bearer b"), "miss");
    assert_eq!(said(&own, "Bearer a"), "hit");
    assert_eq!(said(&shared, "Bearer a"), "miss");
    assert_eq!(said(&shared, "Bearer b"), "hit");
}

#[test]
fn what_is_no_answer_is_not_kept() {
    let mock = Mock::start(&["--error-rate=1", "--error-status=400"]);
    let server = keeping(&[&mock], "[gateway]\nretries = 0");
    for _ in 0..2 {
        assert_eq!(chat(&server, &certain("a")).end(), End::Refused(400));
    }
    mock.change(&json!({ "error_rate": 0, "cut_rate": 1, "cut_after": 2 }));
    assert_eq!(chat(&server, &certain_stream("a")).end(), End::ErrorEvent);
    assert_eq!(chat(&server, &certain("a")).end(), End::Refused(502));
    mock.change(&json!({ "cut_rate": 0 }));
    for body in [certain("a"), certain_stream("a")] {
        for expected in ["miss", "hit"] {
            let reply = chat(&server, &body);
            assert_eq!((from(&reply), reply.end()), (expected, End::Answered));
        }
    }
    assert_eq!(mock.counts().requests_total, 6);
}

#[test]
fn rankings_are_kept() {
    let mock = Mock::start(&[]);
    let server = keeping(&[&mock], "");
    let body = json!({ "model": "mock", "query": "a", "documents": ["b", "c"] });
    let said = || ask(&server, "/v1/rerank", &[], &body);
    let first = said();
    assert_eq!(from(&first), "miss");
    let again = said();
    assert_eq!((from(&again), &again.body), ("hit", &first.body));
}
