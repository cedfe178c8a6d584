//! Errors in the form of the API that the client speaks.

use axum::{body::Body, response::Response};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    gateway::support::{Client, Setup, crowd},
    scripted::Scripted,
    support::Server,
};

const EVENT: &str = "event: x\ndata: {\"type\":\"x\"}\n\n";

/// An upstream whose streams break off after two events.
fn breaking() -> Scripted {
    Scripted::answering(|_, _| {
        let pieces = stream::iter([Ok(EVENT), Ok(EVENT)]).chain(stream::once(async {
            // The server sends the pieces first.
            tokio::task::yield_now().await;
            Err(std::io::Error::other("gone"))
        }));
        let mut response = Response::new(Body::from_stream(pieces));
        let headers = response.headers_mut();
        headers.insert("content-type", http::HeaderValue::from_static("text/event-stream"));
        response
    })
}

fn gateway(upstream: &Scripted, rest: &str) -> Server {
    let (upstreams, each) = (vec![upstream.address], "discover = false");
    Setup { upstreams, each, model: "", rest }.start()
}

/// The status and the text of an answer.
fn answer(server: &Server, path: &str, body: &Value) -> (u16, String) {
    crowd().block_on(async {
        let reply = Client::new(server.addresses.api).post(path, body).await;
        (reply.status, String::from_utf8(reply.body.to_vec()).expect("UTF-8"))
    })
}

#[test]
fn stream_that_breaks_off_ends_as_its_api_has_it() {
    let upstream = breaking();
    let server = gateway(&upstream, "");
    let body =
        json!({ "model": "mock", "stream": true, "max_tokens": 9, "messages": [], "input": "a" });
    let last = |path: &str| -> (String, Value) {
        let (status, text) = answer(&server, path, &body);
        assert_eq!(status, 200, "{text}");
        let last = text.strip_prefix(&EVENT.repeat(2)).expect("what came before");
        let (name, data) = last.split_once("data: ").expect("data");
        (name.to_owned(), serde_json::from_str(data).expect("JSON"))
    };
    let (name, data) = last("/v1/chat/completions");
    assert_eq!((&*name, &data["error"]["code"]), ("", &json!("broken")));
    let (name, data) = last("/v1/responses");
    let expected = json!({
        "type": "error", "code": "broken", "message": "the upstream broke the connection",
        "param": null, "sequence_number": 2,
    });
    assert_eq!((&*name, data), ("event: error\n", expected));
    let (name, data) = last("/v1/messages");
    let message = "the upstream broke the connection";
    let error = json!({ "type": "api_error", "message": message, "code": "broken" });
    let expected = json!({ "type": "error", "error": error });
    assert_eq!((&*name, data), ("event: error\n", expected));
}

#[test]
fn errors_of_messages_are_those_of_its_api() {
    let server = gateway(&breaking(), "");
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        for (body, status, kind) in [
            (json!({ "model": "missing", "messages": [] }), 404, "not_found_error"),
            (json!({ "messages": [] }), 400, "invalid_request_error"),
        ] {
            let (told, text) = answer(&server, path, &body);
            let json: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!((told, &json["type"]), (status, &json!("error")), "{text}");
            assert_eq!(json["error"]["type"], kind, "{text}");
            assert!(json["error"]["message"].is_string(), "{text}");
        }
    }
    let (_, text) = answer(&server, "/v1/responses", &json!({ "model": "missing" }));
    assert_eq!(
        serde_json::from_str::<Value>(&text).expect("JSON")["error"]["code"],
        "model_not_found"
    );
}
