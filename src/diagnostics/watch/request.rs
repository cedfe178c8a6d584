//! One request on its way through a handler.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use axum::extract::MatchedPath;
use http::{Request, StatusCode};

use super::{handler::Handler, ledger::Ledger, poll::Poll};

/// Counts a request in when made and out when dropped, however it ends.
pub(crate) struct WatchedRequest {
    handler: Arc<Handler>,
    start: Instant,
    stage: Stage,
}

enum Stage {
    Handler,
    Body,
    Ended,
}

impl WatchedRequest {
    pub(crate) fn begin<B>(ledger: &Ledger, request: &Request<B>) -> Self {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let handler = Arc::clone(ledger.handler(request.method(), route));
        handler.counts.started.fetch_add(1, Relaxed);
        Self { handler, start: Instant::now(), stage: Stage::Handler }
    }

    /// Takes the time until the guard is dropped.
    pub(crate) fn poll(&self) -> Poll<'_> {
        Poll::begin(&self.handler)
    }

    /// The response head is there.
    pub(crate) fn head(&mut self, status: StatusCode) {
        self.handler.counts.answered(status);
        self.handler.head.record(self.start.elapsed());
        self.stage = Stage::Body;
    }

    /// The body has ended.
    pub(crate) fn end(&mut self) {
        if matches!(self.stage, Stage::Body) {
            self.handler.total.record(self.start.elapsed());
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
