//! Limit on open connections: metrics, one log line for each time that it is reached, readiness.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge};

/// Called with `true` when the last free connection is taken, and with `false` when one is free
/// again.
pub(crate) type OnFull = Box<dyn Fn(bool) + Send + Sync>;

/// Connections that may be open at a time.
pub(super) struct Limit {
    max: usize,
    state: Mutex<State>,
    on_full: OnFull,
    meters: Meters,
}

/// An open connection that counts towards the limit, until it is dropped.
pub(super) struct Slot(Arc<Limit>);

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// Connections that were rejected since the limit was reached; `None` while it is not.
    rejected: Option<u64>,
}

struct Meters {
    open: Gauge,
    reached: Counter,
    rejected: Counter,
}

impl Limit {
    pub(super) fn new(max: usize, on_full: OnFull) -> Self {
        Self { max, state: Mutex::default(), on_full, meters: Meters::new(max) }
    }

    /// Counts one more connection; `None` at the limit.
    pub(super) fn open(self: &Arc<Self>) -> Option<Slot> {
        let mut state = self.lock();
        if state.open == self.max {
            if state.rejected.is_none() {
                self.meters.reached.increment(1);
                tracing::warn!(
                    max_connections = self.max,
                    "connection limit reached; new connections are answered 503"
                );
            }
            *state.rejected.get_or_insert_default() += 1;
            self.meters.rejected.increment(1);
            return None;
        }
        state.open += 1;
        self.meters.open.set(state.open as f64);
        if state.open == self.max {
            (self.on_full)(true);
        }
        Some(Slot(Arc::clone(self)))
    }

    fn close(&self) {
        let mut state = self.lock();
        if state.open == self.max {
            (self.on_full)(false);
        }
        state.open -= 1;
        self.meters.open.set(state.open as f64);
        // Some below it: clients that come and go at the limit are one line, not thousands.
        if state.open <= self.max - self.max.div_ceil(10)
            && let Some(rejected) = state.rejected.take()
        {
            tracing::info!(rejected, "connections are below the limit again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Meters {
    fn new(max: usize) -> Self {
        use metrics::{Unit, describe_counter, describe_gauge};
        let open = "thermograph_api_connections";
        describe_gauge!(open, Unit::Count, "Open connections.");
        let limit = "thermograph_api_connections_limit";
        describe_gauge!(
            limit,
            Unit::Count,
            "Most connections that may be open (`max_connections`)."
        );
        metrics::gauge!(limit).set(max as f64);
        let reached = "thermograph_api_connections_limit_reached_total";
        describe_counter!(reached, Unit::Count, "Times the connection limit was reached.");
        let rejected = "thermograph_api_connections_rejected_total";
        describe_counter!(rejected, Unit::Count, "Connections over the limit, answered 503.");
        Self {
            open: metrics::gauge!(open),
            reached: metrics::counter!(reached),
            rejected: metrics::counter!(rejected),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    #[test]
    fn limit_rejects_when_full_until_a_connection_is_closed() {
        let full = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&full);
        let limit = Arc::new(Limit::new(2, Box::new(move |full| told.store(full, Relaxed))));
        let first = limit.open().expect("below the limit");
        assert!(!full.load(Relaxed));
        let _second = limit.open().expect("below the limit");
        assert!(full.load(Relaxed));
        assert!(limit.open().is_none());
        assert!(limit.open().is_none());
        drop(first);
        assert!(!full.load(Relaxed));
        let _third = limit.open().expect("below the limit");
        assert!(full.load(Relaxed));
    }

    #[test]
    fn episode_ends_a_tenth_below_the_limit() {
        let limit = Arc::new(Limit::new(20, Box::new(|_| {})));
        let mut slots: Vec<_> = (0..20).map(|_| limit.open().expect("below the limit")).collect();
        assert!(limit.open().is_none());
        for rejected in [Some(1), None, None] {
            slots.pop();
            assert_eq!(limit.lock().rejected, rejected);
        }
    }
}
