//! Clients that close their sending side after a request and wait for its answer, as `nc -N` does.
//!
//! Their FIN is the same as that of a client that has left, whose handler is cancelled; only the
//! latter resets the connection when it is sent something. nginx and Envoy cancel in both cases. Here
//! a FIN that comes later than the request means that the client has left. One that comes together
//! with it closes the sending side only: the request is answered, and if that takes long, the client
//! is probed with the first bytes of its answer, which are the same for all answers.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicU8,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::AsyncWrite,
    time::{Instant, Sleep, sleep},
};

/// Longest time from the moment when all of a request was read to the FIN that came together with it.
/// Programs that half-close do so within some microseconds, and a busy machine or network delays the
/// FIN by some milliseconds; clients that give up wait longer, as a rule.
pub(super) const TOGETHER: Duration = Duration::from_millis(50);

/// First bytes of every answer, which probe the client one by one.
const START: &[u8] = b"HTTP/1.";
/// Time until the first probe, and until the second; then it doubles. Quick answers need none: there
/// are health checks that take what they read first for the whole status line.
const PROBE_AFTER: Duration = Duration::from_millis(500);

/// State of a connection of HTTP/1: whether the end of its input is kept from hyper, which would
/// drop the connection and cancel the handler.
#[derive(Debug, Default)]
pub(super) struct HalfClose(AtomicU8);

/// No request is being answered, or its answer has begun.
const IDLE: u8 = 0;
/// A request waits for its answer.
const WAITING: u8 = 1;
/// A request waits for its answer, and the client has closed its sending side.
const HALF_CLOSED: u8 = 2;
/// Its answer has begun.
const LAST_ANSWER: u8 = 3;

impl HalfClose {
    /// A request came.
    pub(super) fn request(&self) {
        self.0.store(WAITING, Release);
    }

    /// The answer to it begins; returns whether the connection ends with it.
    pub(super) fn answer(&self) -> bool {
        let next = |state| if state == HALF_CLOSED { LAST_ANSWER } else { IDLE };
        let update = self.0.fetch_update(AcqRel, Acquire, |state| Some(next(state)));
        update.is_ok_and(|before| before == HALF_CLOSED)
    }

    /// The input ended, this long after all before its end was read; returns whether the client waits
    /// for an answer.
    pub(super) fn is_half_closed(&self, after: Duration) -> bool {
        match self.0.load(Acquire) {
            WAITING if after <= TOGETHER => {
                self.0.store(HALF_CLOSED, Release);
                true
            }
            state => matches!(state, HALF_CLOSED | LAST_ANSWER),
        }
    }

    /// Returns whether the client still waits for the first byte.
    pub(super) fn is_waited_for(&self) -> bool {
        self.0.load(Acquire) == HALF_CLOSED
    }

    /// More of the body of the request is waited for; returns whether the input ended before it.
    fn is_truncated(&self) -> bool {
        self.0.compare_exchange(HALF_CLOSED, IDLE, AcqRel, Acquire).is_ok()
    }
}

/// Probes whether a client that waits for an answer is still there.
pub(super) struct Probe {
    /// Bytes of [`START`] that were sent.
    sent: usize,
    interval: Duration,
    next: Pin<Box<Sleep>>,
}

impl Probe {
    pub(super) fn new() -> Self {
        Self { sent: 0, interval: PROBE_AFTER, next: Box::pin(sleep(PROBE_AFTER)) }
    }

    /// Sends what is due; ready with an error once the client has reset the connection.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut stream: impl AsyncWrite + Unpin,
    ) -> Poll<io::Error> {
        while let Some(byte) = START.get(self.sent..=self.sent) {
            ready!(self.next.as_mut().poll(context));
            match ready!(Pin::new(&mut stream).poll_write(context, byte)) {
                Ok(sent) => self.sent += sent,
                Err(error) => return Poll::Ready(error),
            }
            self.next.as_mut().reset(Instant::now() + self.interval);
            self.interval *= 2;
        }
        Poll::Pending
    }

    /// Bytes that were sent, of an answer that begins now.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }
}

/// The body of a request, which ends in an error if the client closes its sending side before the
/// end of it.
pub(super) struct UntilFin<B> {
    body: B,
    half_close: Arc<HalfClose>,
}

impl<B> UntilFin<B> {
    pub(super) fn new(body: B, half_close: Arc<HalfClose>) -> Self {
        Self { body, half_close }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for UntilFin<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending() && self.half_close.is_truncated() {
            // hyper reads again, and finds the end of the input.
            context.waker().wake_by_ref();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = TOGETHER.saturating_mul(2);

    #[test]
    fn fin_with_a_request_is_a_half_close_until_its_answer() {
        let state = HalfClose::default();
        state.request();
        assert!(state.is_half_closed(Duration::ZERO));
        assert!(state.is_half_closed(LATER), "it was closed in time");
        assert!(state.answer(), "the connection ends");
        assert!(state.is_half_closed(LATER), "the answer is being sent");
    }

    #[test]
    fn fin_after_a_request_means_that_the_client_has_left() {
        let state = HalfClose::default();
        state.request();
        assert!(!state.is_half_closed(LATER));
        assert!(!state.answer());
    }

    #[test]
    fn fin_without_a_request_ends_the_connection() {
        let state = HalfClose::default();
        assert!(!state.is_half_closed(Duration::ZERO));
        state.request();
        assert!(!state.answer());
        assert!(!state.is_half_closed(Duration::ZERO));
    }

    #[test]
    fn fin_before_the_end_of_a_body_ends_the_connection() {
        let state = HalfClose::default();
        state.request();
        assert!(!state.is_truncated(), "there was none");
        assert!(state.is_half_closed(Duration::ZERO));
        assert!(state.is_truncated());
        assert!(!state.is_half_closed(Duration::ZERO));
    }
}
