//! Times in which Redis cannot be used, each with one line in the log at its start and at its end.

use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{AcqRel, Relaxed},
};

/// State of Redis as the log has it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// True while Redis cannot be used.
    is_on: AtomicBool,
    /// Requests in a row that were not answered in time.
    late: AtomicU32,
}

impl Outage {
    /// Late answers in a row that are an outage: one may be the machine's fault.
    const LATE: u32 = 3;

    /// A request failed, and others would.
    pub(super) fn begin(&self, error: &str) {
        if !self.is_on.swap(true, AcqRel) {
            tracing::warn!(error, "Redis cannot be used: requests are served without it");
        }
    }

    /// A request was not answered in time.
    pub(super) fn late(&self, error: &str) {
        if self.late.fetch_add(1, Relaxed) + 1 >= Self::LATE {
            self.begin(error);
        }
    }

    /// A request was answered.
    pub(super) fn end(&self) {
        // Written only if they change: requests on all workers read them.
        if self.late.load(Relaxed) > 0 {
            self.late.store(0, Relaxed);
        }
        if self.is_on.load(Relaxed) && self.is_on.swap(false, AcqRel) {
            tracing::info!("Redis can be used again");
        }
    }
}
