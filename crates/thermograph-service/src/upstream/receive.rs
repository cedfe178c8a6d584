//! The content of an answer: all of it, or the beginning of a stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use thermograph_codec::events;
use tokio::{task, time::Instant};

use super::{
    attempt::Clock, connections::Received, failure::Cause, headers, media::Media, relay::AT_ONCE,
};

/// An answer as it was received.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) gathered: Gathered,
}

/// Content of an answer, as far as it was received.
pub(super) enum Gathered {
    Whole(Bytes),
    /// More is to come.
    Begun {
        first: Bytes,
        rest: Received,
        is_events: bool,
    },
}

/// Bytes in a row; most answers are one piece, which is not copied.
#[derive(Default)]
struct Gathering {
    first: Bytes,
    all: BytesMut,
}

/// Answers up to this size that are no streams are read whole before they are passed on, so that
/// one that breaks off can be asked for again.
pub(super) const WHOLE: usize = 1 << 20;
/// Longest time for which the head of a stream, and comments, are held back for its first event, which
/// may be an error that another upstream does not have.
const HELD: Duration = Duration::from_secs(2);

/// Reads an answer's content: all of it, or a stream up to its first event, or as far as it came in
/// [`HELD`]. `silence` is the longest time between two pieces.
pub(super) async fn receive(
    response: Response<Received>,
    silence: Duration,
    clock: &mut Clock<'_>,
) -> Result<Reply, Cause> {
    let (parts, mut body) = response.into_parts();
    let (status, mut headers) = (parts.status, parts.headers);
    let media = Media::of(&headers);
    let is_declared = status.is_success() && media.is_events();
    let mut is_events = is_declared;
    let may_be_events = status.is_success() && media.may_be_events();
    headers::clean(&mut headers);
    let mut so_far = Gathering::default();
    let held = is_events.then(|| Instant::now() + HELD);
    let mut at_once = 0;
    let gathered = loop {
        if body.is_end_stream() {
            break ended(so_far.bytes(), body, is_events);
        }
        if let Some(held) = held {
            clock.bring_forward(held);
        }
        let frame = tokio::select! {
            biased;
            // Cancel-safe: the clock ends the request, or the frame is the relay's to wait for.
            frame = body.frame() => frame,
            () = clock.passed() => {
                if held.is_some_and(|held| held <= Instant::now()) {
                    break Gathered::Begun { first: so_far.bytes(), rest: body, is_events };
                }
                let has_begun = so_far.len() > 0;
                return Err(if has_begun { Cause::Silence } else { Cause::Timeout });
            }
        };
        let Some(frame) = frame else { break ended(so_far.bytes(), body, is_events) };
        let frame = frame.map_err(|error| Cause::Broken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            at_once += data.len();
            so_far.add(data, body.size_hint().lower());
        }
        is_events |= may_be_events && events::is_stream(so_far.so_far());
        if so_far.len() > WHOLE || (is_events && events::first(so_far.so_far(), false).is_some()) {
            break Gathered::Begun { first: so_far.bytes(), rest: body, is_events };
        }
        if !body.is_end_stream() {
            clock.set(silence);
            if at_once >= AT_ONCE {
                at_once = 0;
                task::yield_now().await;
            }
        }
    };
    if is_events && !is_declared {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(events::MEDIA_TYPE));
    }
    Ok(Reply { status, headers, gathered })
}

/// An answer that has come to its end. Of a stream, events are to be noted as they are passed on.
fn ended(bytes: Bytes, rest: Received, is_events: bool) -> Gathered {
    if is_events && events::each(&bytes).next().is_some() {
        return Gathered::Begun { first: bytes, rest, is_events };
    }
    Gathered::Whole(bytes)
}

impl Gathering {
    /// Adds bytes, after which at least `left` are to come, as far as that is known.
    fn add(&mut self, data: Bytes, left: u64) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.all.is_empty() {
            let left = usize::try_from(left).unwrap_or(usize::MAX).min(WHOLE);
            self.all.reserve(self.first.len() + data.len() + left);
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&data);
    }

    fn len(&self) -> usize {
        self.so_far().len()
    }

    fn so_far(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    fn bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}
