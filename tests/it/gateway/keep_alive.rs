//! Streams while their upstream is silent: the head comes when it comes, and comments if wanted.

use std::time::Duration;

use axum::{body::Body, response::IntoResponse as _};
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;

use crate::{
    gateway::support::{CHAT, Client, Setup, ask, crowd, stream as streamed},
    scripted::Scripted,
    store::support::{Store, created},
    support::{Server, wait},
};

const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// An upstream that is silent for as long as the request says, in the head and after it.
fn slow(before: Duration, after: Duration, answer: fn() -> axum::response::Response) -> Scripted {
    Scripted::answering_later(move |_, _| async move {
        tokio::time::sleep(before).await;
        let answer = answer();
        if after.is_zero() {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        let pause = stream::once(async move {
            tokio::time::sleep(after).await;
            Ok::<_, axum::Error>(bytes::Bytes::new())
        });
        let body = Body::from_stream(pause.chain(body.into_data_stream()));
        axum::response::Response::from_parts(parts, body)
    })
}

fn events() -> axum::response::Response {
    ([("content-type", "text/event-stream")], format!("{EVENT}{EVENT}{DONE}")).into_response()
}

fn gateway(upstream: &Scripted, rest: &str) -> Server {
    let (upstreams, each) = (vec![upstream.address], "discover = false");
    Setup { upstreams, each, model: "", rest }.start()
}

#[test]
fn comments_come_while_the_upstream_is_silent() {
    let (none, long) = (Duration::ZERO, Duration::from_millis(1200));
    for (before, after) in [(long, none), (none, long)] {
        let upstream = slow(before, after, events);
        let server = gateway(&upstream, "[gateway]\nstream_keep_alive = \"200ms\"");
        let reply = ask(&server, &streamed());
        let text = String::from_utf8(reply.body.to_vec()).expect("UTF-8");
        assert_eq!((reply.status, reply.header("content-type")), (200, "text/event-stream"));
        let comments = text.matches(": keep-alive\n\n").count();
        assert!(comments >= 2, "{before:?} {after:?}: {text:?}");
        assert_eq!(text.replace(": keep-alive\n\n", ""), format!("{EVENT}{EVENT}{DONE}"));
        // Nothing is added where it is not wanted.
        let plain = gateway(&upstream, "");
        assert_eq!(ask(&plain, &streamed()).body, format!("{EVENT}{EVENT}{DONE}"));
    }
}

#[test]
fn comments_come_while_an_answer_is_made_that_is_to_be_kept() {
    let upstream = slow(Duration::from_millis(1200), Duration::ZERO, events);
    let rest = "[gateway]\nstream_keep_alive = \"200ms\"\n[cache]\nanswers = \"1MiB\"";
    let server = gateway(&upstream, rest);
    let mut question = streamed();
    question["temperature"] = 0.into();
    // Two ask at a time, and one of them waits for the other; the third one has what is kept.
    let texts: Vec<_> = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| ask(&server, &question)));
        both.into_iter().map(|one| one.join().expect("no panic").body).collect()
    });
    let third = ask(&server, &question);
    assert_eq!(third.header("x-cache"), "hit");
    assert_eq!(upstream.requests(), 1);
    for text in texts {
        let text = String::from_utf8(text.to_vec()).expect("UTF-8");
        assert!(text.matches(": keep-alive\n\n").count() >= 2, "{text:?}");
        assert_eq!(text.replace(": keep-alive\n\n", ""), format!("{EVENT}{EVENT}{DONE}"));
        assert_eq!(third.body, format!("{EVENT}{EVENT}{DONE}"));
    }
}

#[test]
fn error_after_the_first_comment_is_the_last_event_and_in_the_row() {
    let upstream = slow(Duration::from_millis(600), Duration::ZERO, || {
        (http::StatusCode::BAD_REQUEST, "{\"error\":{\n\"message\":\"no\"}}").into_response()
    });
    let store = Store::sqlite();
    let rest = format!("[gateway]\nstream_keep_alive = \"100ms\"\n{}", store.section());
    let server = gateway(&upstream, &rest);
    let (_, key) = created(&store.keys(&["create", "--name=test"]));
    let client = [("authorization", &*format!("Bearer {key}"))];
    let reply = crate::gateway::support::ask_with(&server, &client, &streamed().to_string());
    assert_eq!(reply.status, 200);
    let text = String::from_utf8(reply.body.to_vec()).expect("UTF-8");
    let last = "data: {\"error\":{\ndata: \"message\":\"no\"}}\n\n";
    assert!(text.starts_with(": keep-alive\n\n") && text.ends_with(last), "{text:?}");
    wait("the row is written", || store.rows() == 1);
    assert_eq!(store.number("SELECT status FROM ledger"), 400);
}

#[test]
fn client_that_leaves_before_the_answer_pays_for_its_prompt() {
    let upstream = slow(Duration::from_mins(5), Duration::ZERO, events);
    let store = Store::sqlite();
    let rest = format!("[gateway]\nstream_keep_alive = \"100ms\"\n{}", store.section());
    let server = gateway(&upstream, &rest);
    let runtime = crowd();
    runtime.block_on(async {
        let mut client = Client::new(server.addresses.api);
        let response = client.begin(CHAT, &streamed()).await.expect("a head");
        let mut body = response.into_body();
        let first = body.frame().await.expect("a comment").expect("good");
        assert_eq!(first.into_data().expect("data"), ": keep-alive\n\n");
    });
    wait("the row is written", || store.rows() == 1);
    let counted =
        "SELECT COUNT(*) FROM ledger WHERE status = 499 AND prompt_tokens > 0 AND estimated";
    assert_eq!(store.number(counted), 1);
}

#[test]
fn head_is_passed_on_before_the_first_event_and_its_time_out_holds() {
    let upstream = slow(Duration::ZERO, Duration::from_mins(5), events);
    let (upstreams, each) = (
        vec![upstream.address],
        "discover = false\nfirst_byte_timeout = \"4s\"\nbetween_bytes_timeout = \"5m\"",
    );
    let server = Setup { upstreams, each, model: "", rest: "" }.start();
    let runtime = crowd();
    runtime.block_on(async {
        let mut client = Client::new(server.addresses.api);
        let response = client.begin(CHAT, &streamed()).await.expect("a head");
        assert_eq!(response.status(), 200);
        let text = response.into_body().collect().await.expect("an event").to_bytes();
        let text = String::from_utf8(text.to_vec()).expect("UTF-8");
        assert!(text.starts_with("data: {\"error\"") && text.contains("in time"), "{text}");
    });
}
