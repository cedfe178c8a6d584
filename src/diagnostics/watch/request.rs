//! One request on its way through a handler.

use std::{
    mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::extract::MatchedPath;
use http::{Request, StatusCode};
use quanta::Instant;

use super::{handler::Handler, ledger::Ledger, poll::Poll};

/// Counts a request in when made and out when dropped, however it ends.
pub(crate) struct WatchedRequest {
    handler: Arc<Handler>,
    start: Instant,
    /// What the call took that made the future: part of its first poll.
    called: Duration,
    stage: Stage,
}

enum Stage {
    Handler,
    Body,
    Ended,
}

impl WatchedRequest {
    #[inline]
    pub(crate) fn begin<B>(ledger: &Ledger, request: &Request<B>) -> Self {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let handler = Arc::clone(ledger.handler(request.method(), route));
        handler.counts.started.fetch_add(1, Relaxed);
        Self { handler, start: Instant::now(), called: Duration::ZERO, stage: Stage::Handler }
    }

    /// Takes the time of the call that makes the future; it counts in the first poll.
    #[inline]
    pub(crate) fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let poll = Poll::begin(&self.handler, self.start, Duration::ZERO);
        let future = call();
        self.called = poll.leave();
        future
    }

    /// Takes the time of a poll, until its guard ends or is dropped.
    #[inline]
    pub(crate) fn poll(&mut self) -> Poll<'_> {
        Poll::begin(&self.handler, Instant::now(), mem::take(&mut self.called))
    }

    /// The response head is there, since `now`.
    #[inline]
    pub(crate) fn head(&mut self, status: StatusCode, now: Instant) {
        self.handler.counts.answered(status);
        self.handler.head.record(now - self.start);
        self.stage = Stage::Body;
    }

    /// The body has ended, at `now`.
    #[inline]
    pub(crate) fn end(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Body) {
            self.handler.total.record(now - self.start);
            self.stage = Stage::Ended;
        }
    }
}

impl Drop for WatchedRequest {
    fn drop(&mut self) {
        let counts = &self.handler.counts;
        match self.stage {
            Stage::Handler => _ = counts.cancelled.fetch_add(1, Relaxed),
            Stage::Body => _ = counts.cut.fetch_add(1, Relaxed),
            Stage::Ended => {}
        }
        counts.ended.fetch_add(1, Relaxed);
    }
}
