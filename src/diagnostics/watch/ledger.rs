//! The ledger: a bounded table of handlers that is read and written without a lock.

use std::{
    fmt,
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use http::Method;
use quanta::Instant;

use super::{
    handler::Handler,
    snapshot::{LedgerReport, Snapshot},
};

/// What each handler has cost.
///
/// An open-addressed table that only grows, up to its bound: a lookup is a hash and a few loads
/// without a lock, and a row, once there, never moves.
pub struct Ledger {
    rows: Box<[OnceLock<Arc<Handler>>]>,
    hasher: RandomState,
    /// Most handlers that get a row of their own.
    max: usize,
    used: AtomicUsize,
    /// Held while a row is made.
    claiming: Mutex<()>,
    /// Requests of handlers past the bound; counted in the row `other` too.
    overflowed: AtomicU64,
    /// Requests that matched no route: scanners must not fill the table.
    unmatched: Arc<Handler>,
    /// Handlers past the bound.
    other: Arc<Handler>,
    since: Instant,
}

impl Ledger {
    /// A ledger for at most `max` handlers.
    pub fn new(max: usize) -> Self {
        // Twice the bound keeps the chains of the open addressing short.
        let slots = (max * 2).next_power_of_two();
        Self {
            rows: (0..slots).map(|_| OnceLock::new()).collect(),
            hasher: RandomState::new(),
            max,
            used: AtomicUsize::new(0),
            claiming: Mutex::default(),
            overflowed: AtomicU64::new(0),
            unmatched: Arc::new(Handler::new(any_method(), "(unmatched)")),
            other: Arc::new(Handler::new(any_method(), "(other)")),
            // The first look at this clock compares it with the system's, which takes a while.
            since: Instant::now(),
        }
    }

    /// What each handler has cost since the start.
    pub fn report(&self) -> LedgerReport {
        self.snapshot().report()
    }

    /// The counters now; two of them make a report of the time between.
    pub fn snapshot(&self) -> Snapshot {
        let rows = self.rows.iter().filter_map(OnceLock::get);
        let shared = [&self.unmatched, &self.other];
        Snapshot::take(
            rows.chain(shared).map(Arc::as_ref),
            self.since.elapsed(),
            self.overflowed.load(Relaxed),
        )
    }

    /// The row of a handler; `route` is none where no route matched.
    pub(crate) fn handler(&self, method: &Method, route: Option<&str>) -> &Arc<Handler> {
        let Some(route) = route else { return &self.unmatched };
        let start = self.slot_of(method, route);
        let (after, before) = (&self.rows[start..], &self.rows[..start]);
        for slot in after.iter().chain(before) {
            let Some(row) = slot.get().or_else(|| self.claim(slot, method, route)) else { break };
            if row.is(method, route) {
                return row;
            }
        }
        self.overflowed.fetch_add(1, Relaxed);
        &self.other
    }

    /// Makes a row in an empty slot, unless the table has reached its bound.
    ///
    /// Once a handler, and under a lock: the bound is exact, and two threads that want the same
    /// slot agree on who made it.
    #[cold]
    fn claim<'a>(
        &self,
        slot: &'a OnceLock<Arc<Handler>>,
        method: &Method,
        route: &str,
    ) -> Option<&'a Arc<Handler>> {
        if self.used.load(Acquire) >= self.max {
            return slot.get();
        }
        let _claiming = self.claiming.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.get().is_none() && self.used.load(Relaxed) < self.max {
            slot.get_or_init(|| Arc::new(Handler::new(method.clone(), route)));
            self.used.fetch_add(1, Release);
        }
        slot.get()
    }

    fn slot_of(&self, method: &Method, route: &str) -> usize {
        let mut hasher = self.hasher.build_hasher();
        method.hash(&mut hasher);
        route.hash(&mut hasher);
        // The table's length is a power of two.
        hasher.finish() as usize & (self.rows.len() - 1)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("handlers", &self.used).finish_non_exhaustive()
    }
}

/// The method shown for a row that many handlers share; `*` is a legal token.
#[expect(clippy::expect_used, reason = "a constant that is a legal token")]
fn any_method() -> Method {
    Method::from_bytes(b"*").expect("a legal token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_keeps_its_row() {
        let ledger = Ledger::new(4);
        let first = ledger.handler(&Method::GET, Some("/a"));
        assert!(Arc::ptr_eq(first, ledger.handler(&Method::GET, Some("/a"))));
        assert!(!Arc::ptr_eq(first, ledger.handler(&Method::POST, Some("/a"))));
        assert_eq!(&*ledger.handler(&Method::GET, None).route, "(unmatched)");
    }

    #[test]
    fn handlers_past_the_bound_share_a_row_and_are_counted() {
        let ledger = Ledger::new(2);
        for route in ["/a", "/b", "/c", "/d", "/c"] {
            ledger.handler(&Method::GET, Some(route));
        }
        assert_eq!(&*ledger.handler(&Method::GET, Some("/b")).route, "/b");
        assert_eq!(&*ledger.handler(&Method::GET, Some("/d")).route, "(other)");
        assert_eq!(ledger.report().overflowed, 4);
    }

    #[test]
    fn threads_agree_on_the_rows() {
        let ledger = Ledger::new(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..1_000 {
                        let route = format!("/{}", round % 64);
                        let row = ledger.handler(&Method::GET, Some(&route));
                        row.counts.started.fetch_add(1, Relaxed);
                    }
                });
            }
        });
        let report = ledger.report();
        assert_eq!(report.overflowed, 0);
        assert_eq!(ledger.used.load(Relaxed), 64);
        let started: u64 = report.handlers.iter().map(|row| row.in_flight).sum();
        assert_eq!(started, 4_000);
    }
}
