//! The layer around a service that answers as it is told.

mod streams;

use std::convert::Infallible;

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use thermograph_codec::{
    Codec,
    testing::{BINARY, back},
};
use thermograph_common::{CpuPool, Hooks};
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer as _;

use super::Codecs;

/// What comes out of an answer, for a client that sends this `accept`.
async fn through(accept: &str, method: Method, answer: Response<Body>) -> Response<Bytes> {
    let (cpu, threads) = CpuPool::start(1, 0, Hooks::default()).expect("started");
    let mut answer = Some(answer);
    let inner = service_fn(move |_: Request| {
        std::future::ready(Ok::<_, Infallible>(answer.take().expect("one request")))
    });
    let request = Request::builder().method(method).header("accept", accept);
    let request = request.body(Body::empty()).expect("a request");
    let answered = Codecs::new(cpu.clone()).layer(inner).oneshot(request).await;
    let (head, body) = answered.expect("an answer").into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    cpu.stop();
    for thread in threads {
        thread.join().expect("ended");
    }
    Response::from_parts(head, bytes)
}

fn answer(media_type: &str, body: impl Into<Body>) -> Response<Body> {
    Response::builder()
        .status(StatusCode::CREATED)
        .header("content-type", media_type)
        .header("content-length", "1234")
        .header("x-other", "stays")
        .body(body.into())
        .expect("an answer")
}

fn header<'a>(answer: &'a Response<Bytes>, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn json_becomes_what_is_wanted() {
    for codec in BINARY {
        for text in [r#"{"a":[1]}"#.to_owned(), json!(vec!["x"; 50_000]).to_string()] {
            let given = answer("application/json; charset=utf-8", text.clone());
            let got = through(codec.media_type(), Method::GET, given).await;
            assert_eq!(got.status(), StatusCode::CREATED);
            assert_eq!(header(&got, "content-type"), codec.media_type());
            assert_eq!(header(&got, "content-length"), got.body().len().to_string());
            assert_eq!((header(&got, "vary"), header(&got, "x-other")), ("accept", "stays"));
            assert_eq!(back(got.body(), codec), text);
        }
    }
}

#[tokio::test]
async fn what_is_wanted_as_it_is_stays() {
    for (accept, media_type) in [
        ("application/json", "application/json"),
        ("text/html", "application/json"),
        ("application/cbor", "text/plain"),
        ("application/cbor", "application/msgpack"),
    ] {
        let got = through(accept, Method::POST, answer(media_type, "not JSON")).await;
        assert_eq!(got.body(), "not JSON");
        assert_eq!(header(&got, "content-type"), media_type);
        assert_eq!(header(&got, "content-length"), "1234");
        let varies = media_type != "text/plain";
        assert_eq!(header(&got, "vary"), if varies { "accept" } else { "" });
    }
}

#[tokio::test]
async fn events_become_frames() {
    let events = "data: {\"a\":1}\n\n: ping\n\ndata: [DONE]\n\n";
    let got = through("application/cbor", Method::POST, answer("text/event-stream", events)).await;
    assert_eq!(header(&got, "content-type"), "application/cbor; framing=length-delimited");
    assert_eq!((header(&got, "content-length"), header(&got, "vary")), ("", "accept"));
    assert_eq!(got.body()[..], *b"\0\0\0\x04\xa1\x61a\x01\0\0\0\0");
}

#[tokio::test]
async fn an_answer_without_a_body_has_none() {
    let got = through("application/cbor", Method::HEAD, answer("application/json", "")).await;
    assert_eq!(header(&got, "content-type"), "application/cbor");
    assert_eq!((header(&got, "content-length"), got.body().len()), ("", 0));
}

#[tokio::test]
async fn what_cannot_be_translated_is_an_error_in_the_same_codec() {
    let piece = Bytes::from(vec![b' '; 1 << 20]);
    let pieces = futures_of((0..=64).map(move |_| Ok(piece.clone())));
    let broken = futures_of([Ok(Bytes::from("[")), Err("gone".into())].into_iter());
    for (body, code) in [
        (Body::from("{\"a\":"), "bad_answer"),
        (Body::from(vec![b'x'; 1 << 20]), "bad_answer"),
        (Body::new(pieces), "answer_too_large"),
        (Body::new(broken), "broken"),
    ] {
        let got = through("application/msgpack", Method::POST, answer("application/json", body));
        let got = got.await;
        assert_eq!(got.status(), StatusCode::BAD_GATEWAY, "{code}");
        assert_eq!(header(&got, "content-type"), "application/msgpack");
        assert_eq!(header(&got, "content-length"), got.body().len().to_string());
        let error: Value =
            serde_json::from_str(&back(got.body(), Codec::MessagePack)).expect("JSON");
        assert_eq!(error["error"]["code"], code, "{error}");
    }
}

/// A body of these pieces.
fn futures_of(
    pieces: impl Iterator<Item = Result<Bytes, axum::BoxError>> + Send + Unpin + 'static,
) -> impl http_body::Body<Data = Bytes, Error = axum::BoxError> + Send {
    struct Pieces<I>(I);
    impl<I> http_body::Body for Pieces<I>
    where
        I: Iterator<Item = Result<Bytes, axum::BoxError>> + Unpin,
    {
        type Data = Bytes;
        type Error = axum::BoxError;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, axum::BoxError>>> {
            std::task::Poll::Ready(self.0.next().map(|piece| piece.map(http_body::Frame::data)))
        }
    }
    Pieces(pieces)
}
