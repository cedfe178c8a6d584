//! Errors that an upstream sends with 200: failures of that upstream, and not answers.

use serde_json::json;

use crate::{
    gateway::support::{Mock, Setup, ask, outcomes, stream, whole},
    scripted::{Scripted, Sent},
    support::{Server, wait},
};

/// A gateway before an upstream `a` that sends this, and a fallback `b` that is well.
fn gateway(sent: Sent) -> (Server, Scripted, Mock) {
    let (ill, well) = (Scripted::start(sent), Mock::start(&["--tokens=3"]));
    let setup = Setup {
        upstreams: vec![ill.address, well.address],
        each: "discover = false",
        model: "upstreams = [\"a\"]\nfallbacks = [\"b\"]",
        rest: "[gateway]\nretries = 1\nbreaker_requests = 100",
    };
    (setup.start(), ill, well)
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
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\
                data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n";
    let sent = Sent { content_type: "text/event-stream", body: body.to_owned(), ..Sent::default() };
    let (server, _ill, _well) = gateway(sent);
    let reply = ask(&server, &stream());
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, body, "the client gets it as it is");
    wait("it is counted", || outcomes(&server, "a", "error_event") == 1);
    assert_eq!(outcomes(&server, "a", "answered"), 0);
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
