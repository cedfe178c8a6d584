//! Streams of values in the binary codecs: what server-sent events are in JSON.
//!
//! A frame is the length of a value, four bytes with the highest first, and the value: an event's data.
//! A frame of length 0 stands for `data: [DONE]`, so that a stream that has ended is told from one that
//! broke off. Comments, and events' names, are left out.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::BoxError;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame};
use pin_project_lite::pin_project;

use super::{Codec, layer::SMALL};
use crate::service::{
    cpu::CpuPool,
    error::ApiError,
    events::{self, Events, Taken},
};

/// What events become.
#[derive(Debug, Default)]
pub struct Framed {
    /// Frames.
    pub bytes: Vec<u8>,
    /// Whether the last of them is an error: an event was none, and nothing comes after it.
    pub is_broken: bool,
}

/// Frames of whole server-sent events, whose data is JSON.
pub fn frames(events: &[u8], codec: Codec) -> Framed {
    let mut bytes = Vec::with_capacity(events.len());
    for event in events::each(events) {
        if event.is_done() {
            bytes.extend_from_slice(&0_u32.to_be_bytes());
            continue;
        }
        if let Err(error) = append(&event.data, codec, &mut bytes) {
            let message = format!("an event of the upstream is not understood: {error}");
            append_error(&broken(&message), codec, &mut bytes);
            return Framed { bytes, is_broken: true };
        }
    }
    Framed { bytes, is_broken: false }
}

/// Frames of events that come in pieces, cut anywhere.
pub fn frames_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, codec: Codec) -> Framed {
    let mut events = Events::default();
    let mut all = Framed::default();
    for piece in pieces {
        let taken = events.take(Bytes::copy_from_slice(piece));
        let Framed { bytes, is_broken } = checked(&taken, codec);
        all.bytes.extend_from_slice(&bytes);
        if is_broken {
            return Framed { is_broken, ..all };
        }
    }
    let Framed { bytes, is_broken } = checked(&events.rest(), codec);
    all.bytes.extend_from_slice(&bytes);
    Framed { is_broken, ..all }
}

/// Frames of events, or an error if one is too long for a frame.
fn checked(taken: &Taken, codec: Codec) -> Framed {
    if taken.long.is_empty() {
        return frames(&taken.whole, codec);
    }
    let mut bytes = Vec::new();
    append_error(&broken("an event is too long"), codec, &mut bytes);
    Framed { bytes, is_broken: true }
}

fn append(json: &[u8], codec: Codec, out: &mut Vec<u8>) -> Result<(), super::CodecError> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    // An event is far shorter than what a length can say.
    if let Err(error) = Codec::Json.append(json, codec, None, Events::LONGEST * 4, out) {
        out.truncate(at);
        return Err(error);
    }
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn append_error(error: &ApiError, codec: Codec, out: &mut Vec<u8>) {
    // An error object has a form in every codec.
    let _ = append(error.json().as_bytes(), codec, out);
}

fn broken(message: &str) -> ApiError {
    ApiError::upstream(StatusCode::BAD_GATEWAY, "bad_stream", message)
}

/// Work on many events, off the workers.
type Work = Pin<Box<dyn Future<Output = Framed> + Send>>;

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
            let framed = if let Some(work) = this.work {
                let framed = ready!(work.as_mut().poll(context));
                *this.work = None;
                framed
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
                    checked(&taken, *this.codec)
                } else {
                    *this.work = Some(work(this.cpu.clone(), taken.whole, *this.codec));
                    continue;
                }
            };
            if framed.is_broken {
                this.inner.set(None);
            }
            if !framed.bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(framed.bytes.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none() && self.work.is_none()
    }
}

fn work(cpu: CpuPool, events: Bytes, codec: Codec) -> Work {
    Box::pin(async move {
        let done = cpu.run(move || frames(&events, codec)).await;
        done.unwrap_or_else(|error| {
            let mut bytes = Vec::new();
            append_error(&error.into(), codec, &mut bytes);
            Framed { bytes, is_broken: true }
        })
    })
}
