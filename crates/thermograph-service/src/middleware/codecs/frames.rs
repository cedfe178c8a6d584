//! Bodies of server-sent events as frames.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use thermograph_codec::{Codec, Framed, append_frame, events::Events, frames, frames_of_taken};
use thermograph_common::CpuPool;

use super::SMALL;
use crate::error::ApiError;

/// Work on many events, off the workers.
type Work = Pin<Box<dyn Future<Output = Piece> + Send>>;

/// Frames that are passed on at once.
struct Piece {
    bytes: Vec<u8>,
    /// Whether nothing comes after them.
    is_last: bool,
}

pin_project! {
    /// A body of events, as frames. It asks for more only where it is asked for more.
    pub(super) struct Frames<B> {
        // None once nothing more is wanted of it.
        #[pin]
        inner: Option<B>,
        events: Events,
        codec: Codec,
        cpu: CpuPool,
        work: Option<Work>,
    }
}

impl<B> Frames<B> {
    pub(super) fn new(inner: B, codec: Codec, cpu: CpuPool) -> Self {
        Self { inner: Some(inner), events: Events::default(), codec, cpu, work: None }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for Frames<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        loop {
            let piece = if let Some(work) = this.work {
                let piece = ready!(work.as_mut().poll(context));
                *this.work = None;
                piece
            } else {
                let Some(inner) = this.inner.as_mut().as_pin_mut() else {
                    return Poll::Ready(None);
                };
                let taken = match ready!(inner.poll_frame(context)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => this.events.take(data),
                        // Trailers are the connection's.
                        Err(_) => continue,
                    },
                    Some(Err(error)) => {
                        this.inner.set(None);
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    None => {
                        this.inner.set(None);
                        this.events.rest()
                    }
                };
                if taken.whole.len() <= SMALL || !taken.long.is_empty() {
                    Piece::new(frames_of_taken(&taken, *this.codec), *this.codec)
                } else {
                    *this.work = Some(work(this.cpu.clone(), taken.whole, *this.codec));
                    continue;
                }
            };
            if piece.is_last {
                this.inner.set(None);
            }
            if !piece.bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece.bytes.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none() && self.work.is_none()
    }
}

impl Piece {
    /// The frames, and that of the error after which the stream ends.
    fn new(framed: Framed, codec: Codec) -> Self {
        let Framed { mut bytes, error } = framed;
        if let Some(error) = &error {
            append_error(&ApiError::bad_stream(error), codec, &mut bytes);
        }
        Self { bytes, is_last: error.is_some() }
    }
}

/// Frames of many events.
fn work(cpu: CpuPool, events: Bytes, codec: Codec) -> Work {
    Box::pin(async move {
        let framed = cpu.run(move || Piece::new(frames(&events, codec), codec)).await;
        framed.unwrap_or_else(|error| {
            let mut bytes = Vec::new();
            append_error(&error.into(), codec, &mut bytes);
            Piece { bytes, is_last: true }
        })
    })
}

fn append_error(error: &ApiError, codec: Codec, out: &mut Vec<u8>) {
    // An error object has a form in every codec.
    let _ = append_frame(error.json().as_bytes(), codec, out);
}
