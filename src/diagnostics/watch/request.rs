//! One request on its way through a handler.

use std::{
    mem,
    panic::Location,
    ptr,
    task::{Context, Waker},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use super::{
    clock::Moment,
    handler::Handler,
    ledger::{Hint, Ledger},
    mark::{self, Mark},
    overrun::PollId,
    poll::{End, Poll},
    route::{self, Candidate},
    row::{Row, RowPoll},
    shard::Parts,
    slot::Slot,
    track::{self, Part},
    waits,
};
use crate::diagnostics::{
    arrival::{self, Arrived},
    tasks,
};

/// What client or server call a request.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Facts about a request from before its handler is called.
pub(crate) struct Known {
    handler: &'static Handler,
    candidate: Option<Box<Candidate>>,
    arrived: Option<Arrived>,
    id: Option<HeaderValue>,
    row: Option<Box<Row>>,
}

/// Counts a request in when made and out when dropped, however it ends.
pub(crate) struct WatchedRequest {
    handler: &'static Handler,
    /// The RPC method that it called, if that has no handler yet. Boxed, since few requests have one.
    candidate: Option<Box<Candidate>>,
    /// When the handler was first at work: in the call that made its future, or else in the first
    /// poll.
    start: Option<Moment>,
    /// When its bytes arrived; `None` if that was not measured.
    arrived: Option<Arrived>,
    /// Nanoseconds that it waited before that, as far as is known.
    waited: u64,
    /// The time to the response head, by part.
    spent: Spent,
    /// The end of its last poll, and [`Overruns::stalled`](super::Overruns::stalled) then.
    left: Option<(Moment, u64)>,
    /// Nanoseconds that the call took that made the future: part of its first poll.
    called: u64,
    /// What the client calls it: a stall says so while it lasts.
    id: Option<HeaderValue>,
    /// Its last poll that took too long.
    overran: Option<PollId>,
    stage: Stage,
    polls: u32,
    /// On the task that works on it.
    mark: Mark,
    /// In tokio-console: seldom there, and so not in here.
    row: Option<Box<Row>>,
}

/// The parts of [`Parts`] that a request has to remember, in nanoseconds. Smaller than those: the
/// request is moved several times before its first poll, and each move is measurable.
#[derive(Default)]
struct Spent {
    waiting: u64,
    polled: u64,
    unsure: u64,
    /// True if the wait before the first poll is an estimate.
    is_estimated: bool,
}

enum Stage {
    Handler,
    Body,
    Ended,
}

impl Stage {
    /// How a request ended that was dropped here.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Handler => "cancelled",
            Self::Body => "cut",
            Self::Ended => "answered",
        }
    }
}

impl Known {
    #[inline]
    pub(crate) fn of<B>(
        ledger: &'static Ledger,
        hint: Hint,
        place: &'static Location<'static>,
        request: &Request<B>,
    ) -> Self {
        let (handler, candidate) = route::handler(ledger, hint, request);
        let id = request_id(request.headers()).cloned();
        let budget = ledger.budget();
        let row = if budget.is_attached() {
            Row::begin(budget, handler, id.as_ref(), place)
        } else {
            None
        };
        let arrived = arrival::take(request.version()).filter(|_| !is_nested());
        Self { handler, candidate, arrived, id, row }
    }
}

impl WatchedRequest {
    #[inline]
    pub(crate) fn begin(known: Known) -> Self {
        let Known { handler, candidate, arrived, id, row } = known;
        handler.shard(Slot::current()).start();
        Self {
            handler,
            candidate,
            start: None,
            arrived,
            waited: 0,
            spent: Spent::default(),
            left: None,
            called: 0,
            id,
            overran: None,
            stage: Stage::Handler,
            polls: 0,
            mark: Mark::default(),
            row,
        }
    }

    /// Takes the time of the call that makes the future; it counts in the first poll.
    #[inline]
    pub(crate) fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = self.at_work();
        let poll = Poll::of_request(self.handler, self.id.as_ref(), start, 0, Part::default());
        let future = call();
        self.called = poll.leave();
        future
    }

    /// Polls, takes the time of it, and shows it in tokio-console where the request has a row there.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>),
    ) -> End {
        let start = self.at_work();
        let called = mem::take(&mut self.called);
        self.polls = self.polls.wrapping_add(1);
        let part = Part { request: self.start.map_or(0, Moment::raw), number: self.polls };
        let poll = Poll::of_request(self.handler, self.id.as_ref(), start, called, part);
        poll.during(|slot| {
            if self.polls == 1 {
                slot.set_began(start);
                mark::request_begins(slot, self.handler);
            }
            self.mark.request(slot, self.handler);
            let shown = self.row.as_mut().map(|row| row.poll(cx.waker()));
            let waker = shown.as_ref().map_or(cx.waker(), RowPoll::waker);
            work(&mut Context::from_waker(waker));
        })
    }

    /// It waits, until its task is woken by this.
    #[inline]
    pub(crate) fn waits(&mut self, waker: &Waker) {
        let stage = match self.stage {
            Stage::Handler => tasks::Stage::Handler,
            Stage::Body | Stage::Ended => tasks::Stage::Body,
        };
        if let Some(start) = self.start {
            self.mark.waits(stage, self.id.as_ref(), start, waker);
        }
    }

    /// The poll ended, and nothing with it.
    #[inline]
    pub(crate) fn pending(&mut self, end: End) {
        if !ptr::eq(end.handler, self.handler) {
            self.named(end);
        }
        if end.overran.is_some() {
            self.overran = end.overran;
        }
        self.spent.polled += end.taken;
        self.left = Some((end.at, self.handler.overruns.stalled()));
    }

    /// The app has named the request's work in this poll: it goes on as another handler's.
    #[cold]
    fn named(&mut self, end: End) {
        let before = mem::replace(&mut self.handler, end.handler);
        before.shard(Slot::current()).moved();
        end.shard.start();
        // The list of tasks shows the new name from the next poll on.
        self.mark = Mark::default();
    }

    /// The response head came with this poll.
    #[inline]
    pub(crate) fn head(&mut self, status: StatusCode, headers: &HeaderMap, end: End) {
        let called = self.handler;
        self.pending(end);
        end.shard.answer(status, self.taken(end), self.parts());
        route::answered(called, self.candidate.take(), status, headers);
        self.stage = Stage::Body;
        if track::is_on() && self.id.is_none() {
            self.id = request_id(headers).cloned();
        }
        if let Some(row) = &mut self.row {
            row.head();
        }
        // What the server calls it is known only now.
        if let Some(poll) = self.overran
            && let Some(id) = request_id(headers).or(self.id.as_ref())
        {
            self.handler.overruns.named(poll, id.clone());
        }
    }

    /// The body ended with this poll.
    #[inline]
    pub(crate) fn end(&mut self, end: End) {
        self.pending(end);
        self.end_of_body(end);
    }

    /// The body ended with the poll that the response head came with, which is recorded.
    #[inline]
    pub(crate) fn end_of_body(&mut self, end: End) {
        if matches!(self.stage, Stage::Body) {
            end.shard.end(self.taken(end));
            self.stage = Stage::Ended;
        }
    }

    #[inline]
    fn at_work(&mut self) -> Moment {
        let now = Moment::now();
        let waited = match (self.start, waits::take_ready()) {
            (Some(_), Some(ready)) => ready,
            (Some(_), None) => {
                self.wonder(now);
                0
            }
            (None, ready) => self.begins(now, ready),
        };
        if waited > 0 {
            self.has_waited(now, waited);
        }
        now
    }

    /// Records the start of the request; returns the nanoseconds that it waited before, as far as is
    /// known.
    fn begins(&mut self, now: Moment, ready: Option<u64>) -> u64 {
        self.start = Some(now);
        self.waited = match self.arrived {
            // The time that the connection's task was ready is part of it.
            Some(arrived) => arrived.until(now),
            None => self.estimate(now, ready.unwrap_or(0)),
        };
        self.waited
    }

    /// Adds a wait to the request's parts, and reports a long one to the watchdog.
    fn has_waited(&mut self, now: Moment, waited: u64) {
        if matches!(self.stage, Stage::Handler) {
            self.spent.waiting += waited;
        }
        self.handler.overruns.waits().ended(self.handler, now, waited);
    }

    /// What it waited until its first poll, as far as is known without its arrival: at least as long
    /// as its task was ready.
    #[inline]
    fn estimate(&mut self, now: Moment, ready: u64) -> u64 {
        match self.handler.overruns.estimate().waited(now, ready) {
            Some(waited) => {
                self.spent.is_estimated = true;
                self.handler.overruns.waits().are_told();
                waited.max(ready)
            }
            None => ready,
        }
    }

    /// Between two polls it may have waited for a worker for as long as stalls have lasted: without
    /// hooks the runtime does not tell.
    #[inline]
    fn wonder(&mut self, now: Moment) {
        if let (Stage::Handler, Some((left, stalled))) = (&self.stage, self.left) {
            let stalled = self.handler.overruns.stalled().saturating_sub(stalled);
            if stalled > 0 {
                self.spent.unsure += stalled.min(now.since(left));
            }
        }
    }

    #[inline]
    fn parts(&self) -> Parts {
        let Spent { waiting, polled, unsure, is_estimated } = self.spent;
        let measured = u64::from(self.arrived.is_some());
        Parts { measured, estimated: u64::from(is_estimated), waiting, polled, unsure }
    }

    /// Nanoseconds since it arrived.
    #[inline]
    fn taken(&self, end: End) -> u64 {
        self.start.map_or(0, |start| self.waited + end.at.since(start))
    }
}

/// Returns the `x-request-id` among the headers.
#[inline]
fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    /// Comparing the names of up to this many headers is faster than hashing one name.
    const FEW: usize = 8;
    if headers.len() > FEW {
        return headers.get(&REQUEST_ID);
    }
    headers.iter().find_map(|(name, value)| (*name == REQUEST_ID).then_some(value))
}

/// Returns whether this thread is inside of a poll of another request: a call from there is no
/// request that arrived.
fn is_nested() -> bool {
    let slot = Slot::current();
    slot.is_polling() && slot.handler().is_some_and(|handler| !handler.is_task())
}

impl Drop for WatchedRequest {
    #[inline]
    fn drop(&mut self) {
        if track::is_on()
            && let Some(start) = self.start
        {
            track::request(self.handler, start, self.id.as_ref(), self.stage.outcome());
        }
        match self.stage {
            Stage::Handler => self.handler.shard(Slot::current()).cancel(),
            Stage::Body => self.handler.shard(Slot::current()).cut(),
            Stage::Ended => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_is_found_among_few_headers_and_among_many() {
        for others in [0, 1, 7, 8, 30] {
            let mut headers = HeaderMap::new();
            for number in 0..others {
                let name = format!("x-other-{number}").try_into();
                let name: HeaderName = name.expect("a name");
                headers.append(name.clone(), HeaderValue::from_static("first"));
                headers.append(name, HeaderValue::from_static("second"));
            }
            assert_eq!(request_id(&headers), None, "{others}");
            headers.append("x-request-id", HeaderValue::from_static("r-7"));
            headers.append("x-request-id", HeaderValue::from_static("r-8"));
            assert_eq!(
                request_id(&headers).map(HeaderValue::as_bytes),
                Some(&b"r-7"[..]),
                "{others}"
            );
        }
    }
}
