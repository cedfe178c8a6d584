//! Statuses with which another upstream is asked, or the same again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::response::IntoResponse as _;
use http::StatusCode;

use crate::{
    gateway::support::{Mock, Setup, ask, ask_with, whole},
    scripted::{Scripted, Sent},
};

fn refusing(status: u16) -> Scripted {
    let body = format!(r#"{{"error":{{"message":"from a","code":{status}}}}}"#);
    Scripted::start(Sent { status, body, ..Sent::default() })
}

#[test]
fn another_upstream_or_the_fallback_is_asked() {
    for lists in ["upstreams = [\"a\", \"b\"]", "upstreams = [\"a\"]\nfallbacks = [\"b\"]"] {
        for status in [401, 402, 403, 404, 408, 409, 425, 429, 500, 503] {
            let (ill, well) = (refusing(status), Mock::start(&["--tokens=3"]));
            let setup = Setup {
                upstreams: vec![ill.address, well.address],
                each: "discover = false\nkey = \"k\"",
                model: lists,
                rest: "[gateway]\nbreaker_requests = 1000",
            };
            let server = setup.start();
            for _ in 0..5 {
                let reply = ask(&server, &whole());
                assert_eq!(
                    (reply.status, reply.header("x-thermograph-upstream")),
                    (200, "b"),
                    "{status}"
                );
            }
            let breaker = "thermograph_upstream_breaker{upstream=\"a\"}";
            assert_eq!(server.metric(breaker), 0, "{status}");
        }
    }
}

#[test]
fn refusal_of_the_only_upstream_is_passed_on_once() {
    for status in [402, 403, 404, 400, 422] {
        let ill = refusing(status);
        let setup =
            Setup { upstreams: vec![ill.address], each: "discover = false", model: "", rest: "" };
        let reply = ask(&setup.start(), &whole());
        assert_eq!(
            (reply.status, reply.json()["error"]["message"].as_str()),
            (status, Some("from a"))
        );
        assert_eq!(ill.requests(), 1, "{status}");
    }
}

#[test]
fn busy_upstream_is_asked_again() {
    for status in [408, 409, 425, 503] {
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let ill = Scripted::answering(move |_, _| {
            if counted.fetch_add(1, Relaxed) == 0 {
                return StatusCode::from_u16(status).expect("a status").into_response();
            }
            r#"{"choices":[{}]}"#.into_response()
        });
        let setup =
            Setup { upstreams: vec![ill.address], each: "discover = false", model: "", rest: "" };
        assert_eq!(ask(&setup.start(), &whole()).status, 200, "{status}");
        assert_eq!(asked.load(Relaxed), 2);
    }
}

#[test]
fn statuses_are_configured() {
    let (ill, well) = (refusing(404), Mock::start(&["--tokens=3"]));
    let setup = Setup {
        upstreams: vec![ill.address, well.address],
        each: "discover = false",
        model: "upstreams = [\"a\"]\nfallbacks = [\"b\"]",
        rest: "[gateway]\nelsewhere_on = [403]\nretry_on = [\"5xx\"]",
    };
    assert_eq!(ask(&setup.start(), &whole()).status, 404);
    assert_eq!(well.counts().requests_total, 0);
}

#[test]
fn key_of_the_client_is_not_tried_elsewhere() {
    let (ill, well) = (refusing(401), Mock::start(&["--tokens=3"]));
    let setup = Setup {
        upstreams: vec![ill.address, well.address],
        each: "discover = false\nforward_authorization = true",
        model: "upstreams = [\"a\"]\nfallbacks = [\"b\"]",
        rest: "",
    };
    let server = setup.start();
    let client = [("authorization", "Bearer mine")];
    assert_eq!(ask_with(&server, &client, &whole().to_string()).status, 401);
    assert_eq!(well.counts().requests_total, 0);
    assert_eq!(ask(&server, &whole()).status, 200, "without a key, another one may answer");
}

#[test]
fn refused_key_in_headers_is_the_servers_fault() {
    let refusing = refusing(401);
    for headers in ["{ x-api-key = \"k\" }", "{ Authorization = \"Basic k\" }"] {
        let setup = Setup {
            upstreams: vec![refusing.address],
            each: &format!("discover = false\nheaders = {headers}"),
            model: "",
            rest: "",
        };
        let reply = ask(&setup.start(), &whole());
        assert_eq!(reply.status, 502, "{headers}: {reply:?}");
        let message = reply.error()["message"].to_string();
        assert!(message.contains("the upstream refuses the server's key"), "{message}");
    }
}
