//! Bodies of events, as frames.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use axum::BoxError;
use bytes::Bytes;
use futures_executor::block_on;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::Value;
use thermograph_codec::{
    Codec, frames, frames_of,
    testing::{BINARY, STREAM, config, json, values},
};
use thermograph_common::{CpuPool, Hooks};

use super::super::frames::Frames;

/// Pieces, and then perhaps an error; says when it is dropped.
struct Pieces {
    left: Vec<Result<Bytes, BoxError>>,
    asked: usize,
    dropped: Arc<AtomicBool>,
}

impl Pieces {
    fn new(pieces: impl DoubleEndedIterator<Item = Result<Bytes, BoxError>>) -> Self {
        Self { left: pieces.rev().collect(), asked: 0, dropped: Arc::default() }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.asked += 1;
        Poll::Ready(self.left.pop().map(|piece| piece.map(Frame::data)))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.dropped.store(true, SeqCst);
    }
}

struct Polled(Pin<Box<Frames<Pieces>>>);

impl Body for Polled {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_frame(context)
    }
}

fn framed(pieces: Pieces, codec: Codec) -> Polled {
    let (cpu, _threads) = CpuPool::start(1, 0, Hooks::default()).expect("started");
    Polled(Box::pin(Frames::new(pieces, codec, cpu)))
}

#[test]
fn wherever_it_is_cut_the_frames_are_the_same() {
    for codec in BINARY {
        let whole = frames(STREAM.as_bytes(), codec).bytes;
        for size in 1..STREAM.len() {
            let pieces = STREAM.as_bytes().chunks(size).map(|p| Ok(Bytes::copy_from_slice(p)));
            let framed = framed(Pieces::new(pieces), codec);
            let bytes = block_on(framed.collect()).expect("no error").to_bytes();
            assert_eq!(bytes, whole, "{size}");
            let pieces = STREAM.as_bytes().chunks(size);
            assert_eq!(frames_of(pieces, codec).bytes, whole, "{size}");
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_events_cut_anywhere_are_the_same_values(
        events in prop::collection::vec((json(), any::<bool>(), any::<bool>()), 0..6),
        size in 1_usize..400,
    ) {
        let event = |(value, crlf, is_late): &(Value, bool, bool)| {
            let end = if *crlf { "\r\n" } else { "\n" };
            let before = if *is_late { ": ping\n\nid: 7\n" } else { "" };
            format!("{before}data: {value}{end}{end}")
        };
        let stream: String = events.iter().map(event).collect();
        let pieces = stream.as_bytes().chunks(size).map(|p| Ok(Bytes::copy_from_slice(p)));
        let framed = framed(Pieces::new(pieces), Codec::Cbor);
        let bytes = block_on(framed.collect()).expect("no error").to_bytes();
        let expected: Vec<_> = events.iter().map(|(value, ..)| value.to_string()).collect();
        prop_assert_eq!(values(&bytes, Codec::Cbor), expected);
    }
}

#[test]
fn a_last_event_without_an_empty_line_counts() {
    for end in ["data: [DONE]", "data: [DONE]\n", "data: [DONE]\r\n"] {
        let pieces = ["data: 1\n\n", end].into_iter().map(|piece| Ok(Bytes::from(piece)));
        let framed = framed(Pieces::new(pieces), Codec::Cbor);
        let bytes = block_on(framed.collect()).expect("no error").to_bytes();
        assert_eq!(values(&bytes, Codec::Cbor), ["1", ""]);
    }
}

#[test]
fn an_event_that_is_none_is_the_last() {
    let pieces = ["data: 1\n\ndata: {\"x\n\ndata: 2\n\n", "data: [DONE]\n\n"];
    let pieces = Pieces::new(pieces.into_iter().map(|piece| Ok(Bytes::from(piece))));
    let dropped = Arc::clone(&pieces.dropped);
    let mut framed = framed(pieces, Codec::MessagePack);
    let frame = block_on(framed.frame()).expect("a frame").expect("no error");
    assert!(dropped.load(SeqCst), "nothing more is wanted");
    let values = values(&frame.into_data().expect("data"), Codec::MessagePack);
    assert_eq!(values[0], "1");
    assert!(values[1].contains(r#""code":"bad_stream""#), "{values:?}");
    assert_eq!(values.len(), 2);
    assert!(block_on(framed.frame()).is_none());
}

#[test]
fn an_event_that_is_too_long_is_an_error() {
    let long = vec![b'x'; 1 << 20];
    let pieces = (0..4).map(|_| Ok(Bytes::from(long.clone())));
    let framed = framed(Pieces::new(pieces), Codec::Cbor);
    let bytes = block_on(framed.collect()).expect("no error").to_bytes();
    let values = values(&bytes, Codec::Cbor);
    assert!(values[0].contains("an event is too long"), "{values:?}");
    assert_eq!(values.len(), 1);
}

#[test]
fn a_stream_that_breaks_off_ends_with_its_error() {
    let pieces = [Ok(Bytes::from("data: 1\n\ndata: {\"ha")), Err(BoxError::from("gone"))];
    let mut framed = framed(Pieces::new(pieces.into_iter()), Codec::Cbor);
    let first = block_on(framed.frame()).expect("a frame").expect("no error");
    assert_eq!(values(&first.into_data().expect("data"), Codec::Cbor), ["1"]);
    let error = block_on(framed.frame()).expect("an end").expect_err("an error");
    assert_eq!(error.to_string(), "gone");
    assert!(block_on(framed.frame()).is_none());
}

#[test]
fn more_is_asked_for_only_when_it_is_wanted() {
    let pieces = (0..9).map(|number| Ok(Bytes::from(format!("data: {number}\n\n"))));
    let pieces = Pieces::new(pieces);
    let dropped = Arc::clone(&pieces.dropped);
    let mut framed = framed(pieces, Codec::Cbor);
    for _ in 0..3 {
        block_on(framed.frame()).expect("a frame").expect("no error");
    }
    drop(framed);
    assert!(dropped.load(SeqCst));
}

#[test]
fn many_events_at_once_are_worked_on_elsewhere() {
    let many = "data: {\"a\":[1,2,3]}\n\n".repeat(10_000) + "data: [DONE]\n\n";
    let pieces = Pieces::new([Ok(Bytes::from(many))].into_iter());
    let framed = framed(pieces, Codec::MessagePack);
    let bytes = block_on(framed.collect()).expect("no error").to_bytes();
    assert_eq!(values(&bytes, Codec::MessagePack).len(), 10_001);
}
