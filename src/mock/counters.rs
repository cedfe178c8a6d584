//! What became of requests: each ends in exactly one way.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use crate::server;

/// Counts of requests; those of connections are the server's.
#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: Arc<server::Counts>,
    requests_total: AtomicU64,
    in_flight: AtomicU64,
    answered: AtomicU64,
    abandoned: AtomicU64,
    failed: AtomicU64,
    hung: AtomicU64,
    cut: AtomicU64,
    stalled: AtomicU64,
}

/// The counters at a moment. `requests_total` is the sum of `in_flight`, `answered`, `abandoned`,
/// `failed` and `cut`; who hangs or stalls is in flight until the client leaves.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Connections that are open, the one that asks among them.
    pub connections: u64,
    /// Connections that were ever opened.
    pub connections_total: u64,
    /// Requests that came, for an answer of a model.
    pub requests_total: u64,
    /// Those that have not ended, with those that wait for their turn.
    pub in_flight: u64,
    /// Those whose answer was given whole.
    pub answered: u64,
    /// Those whose client left before the end.
    pub abandoned: u64,
    /// Those that were refused, by `error_rate` or for what they are.
    pub failed: u64,
    /// Those that were never answered.
    pub hung: u64,
    /// Those whose connection was closed in the middle of the answer.
    pub cut: u64,
    /// Those whose answer went silent.
    pub stalled: u64,
}

/// A request from its head to its end. Dropped without an end, its client has left.
#[derive(Debug)]
pub(super) struct Turn {
    counters: Arc<Counters>,
    end: End,
    /// Its place among those that are worked on, given back at the end.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Abandoned,
    Answered,
    Failed,
    Cut,
}

impl Counters {
    /// What the server counts into.
    pub(super) fn connections(&self) -> Arc<server::Counts> {
        Arc::clone(&self.connections)
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.open.load(Relaxed),
            connections_total: self.connections.total.load(Relaxed),
            requests_total: self.requests_total.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            answered: self.answered.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            failed: self.failed.load(Relaxed),
            hung: self.hung.load(Relaxed),
            cut: self.cut.load(Relaxed),
            stalled: self.stalled.load(Relaxed),
        }
    }
}

impl Turn {
    /// A request has come.
    pub(super) fn begin(counters: &Arc<Counters>) -> Self {
        counters.requests_total.fetch_add(1, Relaxed);
        counters.in_flight.fetch_add(1, Relaxed);
        Self { counters: Arc::clone(counters), end: End::Abandoned, place: None }
    }

    /// It is never answered.
    pub(super) fn hangs(&self) {
        self.counters.hung.fetch_add(1, Relaxed);
    }

    /// Its answer goes silent.
    pub(super) fn stalls(&self) {
        self.counters.stalled.fetch_add(1, Relaxed);
    }

    /// All has been done for it.
    pub(super) fn ends(&mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let ended = match self.end {
            End::Abandoned => &self.counters.abandoned,
            End::Answered => &self.counters.answered,
            End::Failed => &self.counters.failed,
            End::Cut => &self.counters.cut,
        };
        ended.fetch_add(1, Relaxed);
        self.counters.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_ends_in_one_way() {
        let counters = Arc::default();
        for end in [None, Some(End::Answered), Some(End::Failed), Some(End::Cut)] {
            let mut turn = Turn::begin(&counters);
            turn.hangs();
            turn.stalls();
            assert_eq!(counters.counts().in_flight, 1);
            if let Some(end) = end {
                turn.ends(end);
            }
        }
        let Counts { abandoned, answered, failed, cut, .. } = counters.counts();
        assert_eq!([abandoned, answered, failed, cut], [1; 4]);
        let Counts { requests_total, in_flight, hung, stalled, .. } = counters.counts();
        assert_eq!([requests_total, in_flight, hung, stalled], [4, 0, 4, 4]);
    }
}
