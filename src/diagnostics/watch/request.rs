//! One request on its way through a handler.

use std::mem;

use axum::extract::MatchedPath;
use http::{Request, StatusCode};

use super::{
    clock::Moment,
    handler::Handler,
    ledger::{Hint, Ledger},
    poll::{End, Poll},
};

/// Counts a request in when made and out when dropped, however it ends.
pub(crate) struct WatchedRequest {
    handler: &'static Handler,
    /// When the handler was first at work: in the call that made its future, or else in the first
    /// poll.
    start: Option<Moment>,
    /// Nanoseconds that the call took that made the future: part of its first poll.
    called: u64,
    stage: Stage,
}

enum Stage {
    Handler,
    Body,
    Ended,
}

impl WatchedRequest {
    #[inline]
    pub(crate) fn begin<B>(ledger: &'static Ledger, hint: Hint, request: &Request<B>) -> Self {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let handler = ledger.handler(hint, request.method(), route);
        handler.shard().start();
        Self { handler, start: None, called: 0, stage: Stage::Handler }
    }

    /// Takes the time of the call that makes the future; it counts in the first poll.
    #[inline]
    pub(crate) fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let poll = Poll::begin(self.handler, self.at_work(), 0);
        let future = call();
        self.called = poll.leave();
        future
    }

    /// Takes the time of a poll, until its guard ends or is dropped.
    #[inline]
    pub(crate) fn poll(&mut self) -> Poll {
        let start = self.at_work();
        Poll::begin(self.handler, start, mem::take(&mut self.called))
    }

    /// The response head came with this poll.
    #[inline]
    pub(crate) fn head(&mut self, status: StatusCode, end: End) {
        end.shard.answer(status, self.taken(end));
        self.stage = Stage::Body;
    }

    /// The body ended with this poll.
    #[inline]
    pub(crate) fn end(mut self, end: End) {
        if matches!(self.stage, Stage::Body) {
            end.shard.end(self.taken(end));
            self.stage = Stage::Ended;
        }
    }

    #[inline]
    fn at_work(&mut self) -> Moment {
        let now = Moment::now();
        self.start.get_or_insert(now);
        now
    }

    #[inline]
    fn taken(&self, end: End) -> u64 {
        self.start.map_or(0, |start| end.at.since(start))
    }
}

impl Drop for WatchedRequest {
    #[inline]
    fn drop(&mut self) {
        match self.stage {
            Stage::Handler => self.handler.shard().cancel(),
            Stage::Body => self.handler.shard().cut(),
            Stage::Ended => {}
        }
    }
}
