//! Answers made smaller, for clients that are far away.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tower_http::{
    CompressionLevel,
    compression::{
        self, CompressionLayer,
        predicate::{And, NotForContentType, Predicate as _, SizeAbove},
    },
    map_response_body::{MapResponseBody, MapResponseBodyLayer},
};
use tower_layer::Layer;

use super::Algorithm;

/// Answers of fewer bytes are not worth it.
const LEAST: u64 = 1024;
/// Streams are sent piece by piece, whatever they are written in.
const STREAMS: [NotForContentType; 3] = [
    NotForContentType::SSE,
    NotForContentType::const_new("application/msgpack; framing"),
    NotForContentType::const_new("application/cbor; framing"),
];

type Worthwhile = And<And<And<SizeAbove, NotForContentType>, NotForContentType>, NotForContentType>;

/// Compresses answers as their clients accept it: as fast as can be, since it is done on a worker.
#[derive(Clone, Debug)]
pub struct Compression {
    layer: CompressionLayer<Worthwhile>,
}

/// A body that comes in portions, between which others have their turn: a large one would keep a
/// worker for as long as it takes to compress it.
pub struct Portions {
    inner: Body,
    /// What is left of the last frame.
    left: Bytes,
    gives_way: bool,
}

impl Compression {
    pub(super) fn new(algorithms: &[Algorithm]) -> Self {
        let [sse, messagepack, cbor] = STREAMS;
        let worthwhile = SizeAbove::new(LEAST).and(sse).and(messagepack).and(cbor);
        let layer = CompressionLayer::new()
            .gzip(algorithms.contains(&Algorithm::Gzip))
            .br(algorithms.contains(&Algorithm::Br))
            .zstd(algorithms.contains(&Algorithm::Zstd))
            .quality(CompressionLevel::Fastest)
            .compress_when(worthwhile);
        Self { layer }
    }
}

impl<S> Layer<S> for Compression {
    type Service = compression::Compression<MapResponseBody<S, fn(Body) -> Portions>, Worthwhile>;

    fn layer(&self, inner: S) -> Self::Service {
        let portions = MapResponseBodyLayer::new(Portions::new as fn(Body) -> Portions);
        self.layer.layer(portions.layer(inner))
    }
}

impl Portions {
    /// Takes the fastest of the algorithms half a millisecond or less.
    const BYTES: usize = 16 << 10;

    fn new(inner: Body) -> Self {
        Self { inner, left: Bytes::new(), gives_way: false }
    }
}

impl http_body::Body for Portions {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if std::mem::take(&mut self.gives_way) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.left = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = self.left.len().min(Self::BYTES);
        let portion = self.left.split_to(length);
        self.gives_way = !self.left.is_empty();
        Poll::Ready(Some(Ok(Frame::data(portion))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left.len() as u64;
        let mut hint = self.inner.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + left);
        }
        hint.set_lower(hint.lower() + left);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn portions_are_the_whole() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let mut portions = Portions::new(Body::from(bytes.clone()));
        assert_eq!(http_body::Body::size_hint(&portions).exact(), Some(100_000));
        let mut read = Vec::new();
        while let Some(frame) = portions.frame().await {
            let data = frame.expect("a frame").into_data().expect("data");
            assert!(data.len() <= Portions::BYTES);
            read.extend_from_slice(&data);
        }
        assert_eq!(read, bytes);
        assert!(http_body::Body::is_end_stream(&portions));
    }
}
