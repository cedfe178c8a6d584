//! Errors that an upstream sends with 200: failures of that upstream, and not answers.

use axum::response::Response;
use serde_json::json;

use crate::{
    gateway::support::{Mock, Setup, ask, outcomes, stream, whole},
    scripted::{Scripted, Sent},
    support::{Server, wait},
};

/// A gateway before an upstream `a` that sends this, and a fallback `b` that is well.
fn gateway(sent: Sent) -> (Server, Scripted, Mock) {
    let (ill, well) = (Scripted::start(sent), Mock::start(&["--tokens=3"]));
    (before(&ill, &well), ill, well)
}

fn before(ill: &Scripted, well: &Mock) -> Server {
    let setup = Setup {
        upstreams: vec![ill.address, well.address],
        each: "discover = false",
        model: "upstreams = [\"a\"]\nfallbacks = [\"b\"]",
        rest: "[gateway]\nretries = 1\nbreaker_requests = 100",
    };
    setup.start()
}

#[test]
fn error_inside_a_200_is_answered_by_the_fallback() {
    let (json, events) = ("application/json", "text/event-stream");
    let event = "data: {\"error\":{\"message\":\"x\",\"code\":503}}\n\n";
    for (content_type, body, is_stream) in [
        (events, event.to_owned(), true),
        (events, format!(": ping\n\n{event}"), true),
        (events, format!(": ping\n\n: ping\n\n{event}data: [DONE]\n\n"), true),
        (events, String::new(), true),
        (events, ": ping\n\n".to_owned(), true),
        (events, "data: [DONE]\n\n".to_owned(), true),
        (events, "event: error\ndata: out of memory\n\n".to_owned(), true),
        (events, "event: error\ndata: {\"type\":\"error\"}\n\n".to_owned(), true),
        (events, "data: {\"type\":\"response.failed\",\"response\":{}}\n\n".to_owned(), true),
        (events, r#"{"error":{"message":"x"}}"#.to_owned(), true),
        (json, event.to_owned(), true),
        (json, r#"{"object":"error","message":"x","code":503}"#.to_owned(), false),
        (json, r#"{"type":"error","message":"x"}"#.to_owned(), false),
        (json, "{}".to_owned(), false),
        (json, "null".to_owned(), false),
        (json, " \n".to_owned(), false),
        ("text/plain", "no healthy upstream".to_owned(), false),
        (json, r#"{"error":{"message":"x"}}"#.to_owned(), false),
        (json, r#"[{"error":{"message":"x","code":429}}]"#.to_owned(), false),
        (json, String::new(), false),
        ("text/html", "<html>login</html>".to_owned(), false),
        ("text/html; charset=utf-8", "<html>".repeat(300_000), true),
    ] {
        let (server, ill, well) = gateway(Sent { content_type, body, ..Sent::default() });
        let reply = ask(&server, &if is_stream { stream() } else { whole() });
        assert_eq!((reply.status, reply.header("x-thermograph-upstream")), (200, "b"), "{reply:?}");
        assert_eq!((ill.requests(), well.counts().requests_total), (1, 1), "{content_type}");
        assert_eq!(outcomes(&server, "a", "answered"), 0);
    }
}

#[test]
fn page_without_a_type_is_answered_by_the_fallback() {
    let ill = Scripted::answering(|_, _| Response::new("<!DOCTYPE html><p>login".into()));
    let well = Mock::start(&["--tokens=3"]);
    let reply = ask(&before(&ill, &well), &whole());
    assert_eq!((reply.status, reply.header("x-thermograph-upstream")), (200, "b"), "{reply:?}");
}

#[test]
fn empty_error_beside_a_good_answer_is_none() {
    for error in ["null", "\"\"", "{}", "false", r#"{"code":0,"message":""}"#] {
        let body = format!(r#"{{"error":{error},"choices":[{{"message":{{"content":"a"}}}}]}}"#);
        let (server, ill, well) = gateway(Sent { body: body.clone(), ..Sent::default() });
        let reply = ask(&server, &whole());
        assert_eq!((reply.status, &*reply.body), (200, body.as_bytes()), "{error}");
        assert_eq!((ill.requests(), well.counts().requests_total), (1, 0), "{error}");
    }
}

#[test]
fn stream_that_is_declared_as_something_else_is_one() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n";
    for content_type in ["application/json", "text/plain; charset=utf-8"] {
        let sent = Sent { content_type, body: body.to_owned(), ..Sent::default() };
        let (server, _ill, _well) = gateway(sent);
        let reply = ask(&server, &stream());
        assert_eq!((reply.status, reply.header("content-type")), (200, "text/event-stream"));
        assert_eq!(reply.body, body);
        assert_eq!(outcomes(&server, "a", "answered"), 1, "{content_type}");
    }
}

#[test]
fn error_of_the_client_inside_a_200_has_its_status() {
    let body = r#"{"error":{"message":"too long","type":"invalid_request_error"}}"#;
    for (content_type, body) in
        [("application/json", body.to_owned()), ("text/event-stream", format!("data: {body}\n\n"))]
    {
        let (server, _ill, well) = gateway(Sent { content_type, body, ..Sent::default() });
        let reply = ask(&server, &stream());
        assert_eq!(reply.status, 400, "{reply:?}");
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.json()["error"]["message"], json!("too long"));
        assert_eq!(well.counts().requests_total, 0);
    }
}

#[test]
fn error_in_the_middle_of_a_stream_is_a_failure() {
    for error in [
        "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n",
        "event: error\ndata: out of memory\n\n",
        "data: {\"type\":\"response.failed\",\"response\":{\"error\":null}}\n\ndata: [DONE]\n\n",
    ] {
        let body =
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n{error}");
        let sent =
            Sent { content_type: "text/event-stream", body: body.clone(), ..Sent::default() };
        let (server, _ill, _well) = gateway(sent);
        let reply = ask(&server, &stream());
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, body, "the client gets it as it is");
        wait("it is counted", || outcomes(&server, "a", "error_event") == 1);
        assert_eq!(outcomes(&server, "a", "answered"), 0);
    }
}

#[test]
fn error_inside_a_200_is_not_kept() {
    let question = json!({ "model": "mock", "messages": [], "temperature": 0, "stream": true });
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let body = format!("{event}event: error\ndata: x\n\ndata: [DONE]\n\n");
    let ill = Scripted::start(Sent { content_type: "text/event-stream", body, ..Sent::default() });
    let (upstreams, each) = (vec![ill.address], "discover = false");
    let rest = "[cache]\nanswers = \"1MiB\"";
    let server = Setup { upstreams, each, model: "", rest }.start();
    for _ in 0..2 {
        assert_eq!(ask(&server, &question).header("x-cache"), "miss");
    }
    assert_eq!(ill.requests(), 2);
}

#[test]
fn comments_are_passed_on_while_the_first_event_takes_long() {
    let body = ": processing\n\n".to_owned();
    let sent =
        Sent { content_type: "text/event-stream", body, then_silent: true, ..Sent::default() };
    let (server, _ill, _well) = gateway(sent);
    let runtime = crate::gateway::support::crowd();
    runtime.block_on(async {
        let mut client = crate::gateway::support::Client::new(server.addresses.api);
        let path = crate::gateway::support::CHAT;
        let response = client.begin(path, &stream()).await.expect("a head");
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let frame =
            http_body_util::BodyExt::frame(&mut body).await.expect("a piece").expect("good");
        assert_eq!(frame.into_data().expect("data"), ": processing\n\n");
    });
}
