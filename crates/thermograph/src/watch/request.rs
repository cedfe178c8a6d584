//! One request on its way through a handler.

use std::{
    mem,
    panic::Location,
    ptr,
    task::{Context, Waker},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use thermograph_sampler::{Moment, Slot};

use super::{mark::Mark, row::Row};
use crate::{
    arrival::{self, Arrived},
    handlers::{
        End, Handler, Hint, Ledger, Parts, Poll, PollId, Shard,
        route::{self, Candidate},
        track::{self, Part},
        waits,
    },
    stage,
};

/// What client or server call a request.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Facts about a request from before its handler is called.
pub(crate) struct Known {
    handler: &'static Handler,
    /// Arrival of the request's bytes; `None` if that was not measured.
    arrived: Option<Arrived>,
    /// The request's id, which a stall shows while it lasts.
    id: Option<HeaderValue>,
    seldom: Option<Box<Seldom>>,
}

/// Facts that few requests have.
#[derive(Default)]
struct Seldom {
    /// The RPC method that it called, if that has no handler yet.
    candidate: Option<Candidate>,
    /// In tokio-console.
    row: Option<Row>,
    /// Its last poll that took too long.
    overran: Option<PollId>,
}

/// Counts a request in when made and out when dropped, however it ends.
pub(crate) struct WatchedRequest {
    known: Known,
    /// When the handler was first at work: in the call that made its future, or else in the first
    /// poll.
    start: Option<Moment>,
    /// Nanoseconds that it waited before that, as far as is known.
    waited: u64,
    /// The time to the response head so far.
    parts: Parts,
    /// The end of its last poll, and [`Overruns::stalled`](crate::handlers::Overruns::stalled) then.
    left: Option<(Moment, u64)>,
    /// Nanoseconds that the call took that made the future: part of its first poll.
    called: u64,
    stage: Stage,
    polls: u32,
    /// On the task that works on it.
    mark: Mark,
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
        let seldom = (candidate.is_some() || row.is_some())
            .then(|| Box::new(Seldom { candidate, row, overran: None }));
        let arrived = arrival::take(request.version()).filter(|_| !is_nested());
        Self { handler, arrived, id, seldom }
    }

    /// The response head came.
    #[cold]
    #[inline(never)]
    fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        if track::is_on() && self.id.is_none() {
            self.id = request_id(headers).cloned();
        }
        let Some(seldom) = &mut self.seldom else { return };
        if let Some(candidate) = seldom.candidate.take() {
            candidate.answered(status, headers);
        }
        if let Some(row) = &mut seldom.row {
            row.head();
        }
        // An id that the server gave is known only now.
        if let Some(poll) = seldom.overran
            && let Some(id) = request_id(headers).or(self.id.as_ref())
        {
            self.handler.overruns.named(poll, id.clone());
        }
    }
}

impl WatchedRequest {
    /// Counts the request in; returns where this thread counts, too.
    #[inline]
    pub(crate) fn begin(known: Known) -> (Self, &'static Shard) {
        let shard = known.handler.shard(Slot::current());
        shard.start();
        let measured = u64::from(known.arrived.is_some());
        let request = Self {
            known,
            start: None,
            waited: 0,
            parts: Parts { measured, ..Parts::default() },
            left: None,
            called: 0,
            stage: Stage::Handler,
            polls: 0,
            mark: Mark::default(),
        };
        (request, shard)
    }

    /// Takes the time of the call that makes the future; it counts in the first poll.
    #[inline]
    pub(crate) fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = self.at_work();
        let Known { handler, id, .. } = &self.known;
        let poll = Poll::of_request(handler, id.as_ref(), start, 0, Part::default(), None);
        let future = call();
        self.called = poll.leave();
        future
    }

    /// Polls, takes the time of it, and shows it in tokio-console where the request has a row there.
    ///
    /// `shard` is where this thread counts for the handler, if that was just looked up.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        shard: Option<&'static Shard>,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>),
    ) -> End {
        let start = self.at_work();
        let called = mem::take(&mut self.called);
        self.polls = self.polls.wrapping_add(1);
        let part = Part { request: self.start.map_or(0, Moment::raw), number: self.polls };
        let Known { handler, id, seldom, .. } = &mut self.known;
        let poll = Poll::of_request(handler, id.as_ref(), start, called, part, shard);
        poll.during(|slot| {
            let is_first = self.polls == 1;
            if is_first {
                slot.set_began(start);
            }
            self.mark.request(slot, handler, is_first);
            let row_poll;
            let waker = match seldom.as_deref_mut().and_then(|seldom| seldom.row.as_mut()) {
                None => cx.waker(),
                Some(row) => {
                    row_poll = row.poll(cx.waker());
                    row_poll.waker()
                }
            };
            work(&mut Context::from_waker(waker));
        })
    }

    /// It waits, until its task is woken by this.
    #[inline]
    pub(crate) fn waits(&mut self, waker: &Waker) {
        let stage = match self.stage {
            Stage::Handler => stage::Stage::Handler,
            Stage::Body | Stage::Ended => stage::Stage::Body,
        };
        if let Some(start) = self.start {
            self.mark.waits(stage, self.known.id.as_ref(), start, waker);
        }
    }

    /// A poll ended, and nothing with it.
    #[inline]
    pub(crate) fn pending(&mut self, end: End) {
        self.polled(end);
        self.left = Some((end.at, self.known.handler.overruns.stalled()));
    }

    /// A poll ended.
    #[inline]
    fn polled(&mut self, end: End) {
        if !ptr::eq(end.handler, self.known.handler) {
            self.named(end);
        }
        if end.overran.is_some() {
            self.overran(end.overran);
        }
        self.parts.polled += end.taken;
    }

    /// The app has named the request's work in this poll: it goes on as another handler's.
    #[cold]
    fn named(&mut self, end: End) {
        let before = mem::replace(&mut self.known.handler, end.handler);
        before.shard(Slot::current()).moved();
        end.shard.start();
        // The list of tasks shows the new name from the next poll on.
        self.mark = Mark::default();
    }

    #[cold]
    #[inline(never)]
    fn overran(&mut self, poll: Option<PollId>) {
        self.known.seldom.get_or_insert_default().overran = poll;
    }

    /// The response head came with this poll, and the end of the body too if `is_whole`.
    #[inline]
    pub(crate) fn head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        end: End,
        is_whole: bool,
    ) {
        let called = self.known.handler;
        self.polled(end);
        let taken = self.taken(end);
        end.shard.answer(status, taken, self.parts);
        if is_whole {
            end.shard.end(taken);
        }
        self.stage = if is_whole { Stage::Ended } else { Stage::Body };
        route::answered(called, status, headers);
        if self.known.seldom.is_some() || track::is_on() {
            self.known.head(status, headers);
        }
    }

    /// The body ended with this poll.
    #[inline]
    pub(crate) fn end(&mut self, end: End) {
        self.polled(end);
        end.shard.end(self.taken(end));
        self.stage = Stage::Ended;
    }

    #[inline]
    fn at_work(&mut self) -> Moment {
        let now = Moment::now();
        let ready = waits::take_ready();
        let waited = match self.start {
            Some(_) => self.goes_on(now, ready),
            None => self.begins(now, ready),
        };
        if waited > 0 {
            self.has_waited(now, waited);
        }
        now
    }

    /// Returns the nanoseconds that it waited since its last poll, as far as is known.
    #[inline(never)]
    fn goes_on(&mut self, now: Moment, ready: Option<u64>) -> u64 {
        if ready.is_none() {
            self.wonder(now);
        }
        ready.unwrap_or(0)
    }

    /// Records the start of the request; returns the nanoseconds that it waited before, as far as is
    /// known.
    #[inline]
    fn begins(&mut self, now: Moment, ready: Option<u64>) -> u64 {
        self.start = Some(now);
        self.waited = match self.known.arrived {
            // The time that the connection's task was ready is part of it.
            Some(arrived) => arrived.until(now),
            None => self.estimate(now, ready.unwrap_or(0)),
        };
        self.waited
    }

    /// Adds a wait to the request's parts, and reports a long one to the watchdog.
    #[inline(never)]
    fn has_waited(&mut self, now: Moment, waited: u64) {
        if matches!(self.stage, Stage::Handler) {
            self.parts.waiting += waited;
        }
        let handler = self.known.handler;
        handler.overruns.waits().ended(handler, now, waited);
    }

    /// What it waited until its first poll, as far as is known without its arrival: at least as long
    /// as its task was ready.
    #[inline]
    fn estimate(&mut self, now: Moment, ready: u64) -> u64 {
        let overruns = self.known.handler.overruns;
        match overruns.estimate().waited(now, ready) {
            Some(waited) => {
                self.parts.estimated = 1;
                overruns.waits().are_told();
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
            let stalled = self.known.handler.overruns.stalled().saturating_sub(stalled);
            if stalled > 0 {
                self.parts.unsure += stalled.min(now.since(left));
            }
        }
    }

    /// Adds the request to the timeline that is recorded.
    #[cold]
    #[inline(never)]
    fn is_over(&self) {
        if let Some(start) = self.start {
            let Known { handler, id, .. } = &self.known;
            track::request(handler, start, id.as_ref(), self.stage.outcome());
        }
    }

    /// Counts a request that is dropped before its end.
    #[cold]
    #[inline(never)]
    fn ends_early(&self) {
        let shard = self.known.handler.shard(Slot::current());
        match self.stage {
            Stage::Handler => shard.cancel(),
            Stage::Body => shard.cut(),
            Stage::Ended => {}
        }
    }

    /// Nanoseconds since it arrived.
    #[inline]
    fn taken(&self, end: End) -> u64 {
        // Most requests are answered in their only poll, whose length is known.
        if self.start == Some(end.start) {
            return self.waited + end.taken;
        }
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
    slot.is_polling() && Handler::at_work_on(slot).is_some_and(|handler| !handler.is_task())
}

impl Drop for WatchedRequest {
    #[inline]
    fn drop(&mut self) {
        if track::is_on() {
            self.is_over();
        }
        if !matches!(self.stage, Stage::Ended) {
            self.ends_early();
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
