//! The body of an answer: paced, in pieces, cut or silent, and counted at its end.

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    behaviour::Behaviour,
    content::{Content, Fault},
    counters::{End, Turn},
    distribution::Distribution,
    script::Script,
};

/// Bytes of a stream that are written at once where it is not paced.
const AT_ONCE: usize = 64 << 10;
/// Room for an event: most need less, and the buffer grows for the others.
const EVENT: usize = 512;

/// Between the last that is written and the cut. A reset of an HTTP/2 stream overtakes what another
/// task has not sent yet.
const LEAVE_TO_SEND: Duration = Duration::from_millis(5);

/// The body of an answer.
pub(super) struct Answer {
    /// Made, but not given yet.
    ready: Bytes,
    /// What is still to be made.
    script: Option<Script>,
    /// Length that the head has announced.
    length: Option<u64>,
    /// What happens where all is given.
    fault: Option<Fault>,
    pace: Pace,
    pause: Pause,
    /// Made at the first pause, and set anew for each.
    timer: Option<Pin<Box<Sleep>>>,
    /// Ends the silence.
    stop: CancellationToken,
    silence: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    turn: Turn,
}

/// How fast, and in what sizes.
struct Pace {
    interval: Distribution,
    piece: usize,
    piece_interval: Distribution,
    /// When the next token is due: late ones do not delay those that follow.
    due: Instant,
}

/// What comes before the next write.
#[derive(Clone, Copy, Debug)]
enum Pause {
    None,
    /// A turn for the connection, which sends what it has before it asks again.
    Turn,
    Timer,
}

impl Answer {
    /// An answer to the request of this turn. At `fault`, with so many tokens before it, it breaks
    /// off; a silence ends with `stop`.
    pub(super) fn new(
        content: Content,
        behaviour: &Behaviour,
        fault: Option<(Fault, usize)>,
        turn: Turn,
        stop: CancellationToken,
    ) -> Self {
        let length = match &content {
            Content::Whole(_, body) => Some(body.len() as u64),
            Content::Stream(_) => None,
        };
        let (ready, script) = match (content, fault) {
            (Content::Whole(_, mut body), Some(_)) => {
                body.truncate(body.len() / 2);
                (body, None)
            }
            (Content::Whole(_, body), None) => (body, None),
            (Content::Stream(mut script), fault) => {
                if let Some((_, tokens)) = fault {
                    script.stop_after(tokens);
                }
                (Bytes::new(), Some(script))
            }
        };
        let pace = Pace {
            interval: behaviour.interval,
            piece: behaviour.piece.count(),
            piece_interval: behaviour.piece_interval,
            due: Instant::now(),
        };
        let fault = fault.map(|(fault, _)| fault);
        let (pause, timer, silence) = (Pause::None, None, None);
        let mut answer =
            Self { ready, script, length, fault, pace, pause, timer, stop, silence, turn };
        if answer.is_given() {
            // Cut before its first token: the head leaves in any case.
            answer.rest();
        }
        answer
    }

    fn is_given(&self) -> bool {
        self.ready.is_empty() && self.script.as_ref().is_none_or(Script::is_over)
    }

    /// Makes what is written next: an event where they are paced, and else many.
    fn refill(&mut self) {
        let Some(script) = &mut self.script else { return };
        let is_paced = !self.pace.interval.is_zero();
        let (enough, room) = if is_paced { (1, EVENT) } else { (AT_ONCE, script.size()) };
        let mut made = BytesMut::with_capacity(room.min(AT_ONCE + EVENT));
        while made.len() < enough && !script.is_over() {
            script.write(&mut made);
        }
        self.ready = made.freeze();
    }

    fn take(&mut self) -> Bytes {
        let piece = self.pace.piece;
        if piece == 0 || piece >= self.ready.len() {
            return mem::take(&mut self.ready);
        }
        self.ready.split_to(piece)
    }

    /// After a write: what comes before the next one.
    fn rest(&mut self) {
        let is_paced = !self.pace.interval.is_zero();
        let between_tokens = self.script.as_ref().is_some_and(Script::is_between_tokens);
        self.pause = if self.ready.is_empty() && is_paced && between_tokens {
            self.pace.due += self.pace.interval.draw();
            self.timer(self.pace.due)
        } else if self.is_given() && self.fault == Some(Fault::Cut) {
            self.timer(Instant::now() + LEAVE_TO_SEND)
        } else if self.is_given() {
            Pause::None
        } else if self.pace.piece > 0 && !self.pace.piece_interval.is_zero() {
            self.timer(Instant::now() + self.pace.piece_interval.draw())
        } else if self.pace.piece > 0 || is_paced {
            Pause::Turn
        } else {
            Pause::None
        };
    }

    fn timer(&mut self, due: Instant) -> Pause {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(due),
            None => self.timer = Some(Box::pin(sleep_until(due))),
        }
        Pause::Timer
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.pause {
            Pause::None => {}
            Pause::Turn => {
                self.pause = Pause::None;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Pause::Timer => {
                if let Some(timer) = &mut self.timer {
                    ready!(timer.as_mut().poll(cx));
                }
                self.pause = Pause::None;
            }
        }
        Poll::Ready(())
    }

    /// All is given: the fault, if there is one.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.fault {
            None => {
                self.turn.ends(End::Answered);
                Poll::Ready(None)
            }
            Some(Fault::Cut) => {
                self.turn.ends(End::Cut);
                Poll::Ready(Some(Err(io::Error::other("cut, as the mock was told"))))
            }
            Some(Fault::Stall) => {
                if self.silence.is_none() {
                    self.turn.stalls();
                }
                let stop = &self.stop;
                let silence =
                    self.silence.get_or_insert_with(|| Box::pin(stop.clone().cancelled_owned()));
                ready!(silence.as_mut().poll(cx));
                Poll::Ready(Some(Err(io::Error::other("the mock stops"))))
            }
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        ready!(this.poll_pause(cx));
        if this.ready.is_empty() {
            this.refill();
        }
        if this.ready.is_empty() {
            return this.poll_end(cx);
        }
        let data = this.take();
        this.rest();
        if this.is_end_stream() {
            // It is not asked again.
            this.turn.ends(End::Answered);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_given() && self.fault.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}
