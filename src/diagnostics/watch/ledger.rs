//! The ledger: a bounded table of handlers that is read and written without a lock.

use std::{
    fmt,
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use http::Method;

use super::{
    budget::Budget,
    clock::Moment,
    handler::Handler,
    overrun::Overruns,
    snapshot::{LedgerReport, Snapshot},
    waits::Waits,
};

/// What each handler has cost.
///
/// An open-addressed table that only grows, up to its bound: a lookup is a hash and a few loads
/// without a lock, and a row, once there, never moves. A route that was watched before finds its
/// row without a hash, by a hint.
///
/// It lives as long as the process: a request that held a count of it would have every worker
/// write to the one counter, twice a request.
pub struct Ledger {
    rows: Box<[OnceLock<Box<Handler>>]>,
    hints: Box<[OnceLock<&'static Handler>]>,
    hinted: AtomicUsize,
    hasher: RandomState,
    /// Most handlers that get a row of their own.
    max: usize,
    used: AtomicUsize,
    /// Held while a row is made.
    claiming: Mutex<()>,
    overruns: &'static Overruns,
    waits: Waits,
    /// Of requests in tokio-console.
    budget: Budget,
    /// Requests of handlers past the bound; counted in the row `other` too.
    overflowed: AtomicU64,
    /// Requests that matched no route: scanners must not fill the table.
    unmatched: Handler,
    /// Handlers past the bound.
    other: Handler,
    since: Moment,
}

/// Where a watched route keeps the row that it found first: as a rule it is always the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hint(usize);

impl Ledger {
    /// Default length from which a poll is a stall.
    pub const THRESHOLD: Duration = Duration::from_millis(10);

    /// A ledger for at most `max` handlers, for the rest of the process: it is never freed.
    pub fn leak(max: usize) -> &'static Self {
        Self::leak_with(max, Self::THRESHOLD)
    }

    /// The same, where polls from `threshold` on are stalls.
    pub fn leak_with(max: usize, threshold: Duration) -> &'static Self {
        let overruns = Box::leak(Box::new(Overruns::new(threshold)));
        Box::leak(Box::new(Self::new(max, overruns)))
    }

    fn new(max: usize, overruns: &'static Overruns) -> Self {
        // Twice the bound keeps the chains of the open addressing short.
        let slots = (max * 2).next_power_of_two();
        Self {
            rows: (0..slots).map(|_| OnceLock::new()).collect(),
            hints: (0..slots).map(|_| OnceLock::new()).collect(),
            hinted: AtomicUsize::new(0),
            hasher: RandomState::new(),
            max,
            used: AtomicUsize::new(0),
            claiming: Mutex::default(),
            overruns,
            waits: Waits::new(),
            // A tenth of a second's at once.
            budget: Budget::new(Budget::PER_SECOND, Budget::SECOND / 10),
            overflowed: AtomicU64::new(0),
            unmatched: Handler::new(any_method(), "(unmatched)", overruns),
            other: Handler::new(any_method(), "(other)", overruns),
            // The first look at this clock compares it with the system's, which takes a while.
            since: Moment::now(),
        }
    }

    /// What each handler has cost since the start.
    pub fn report(&self) -> LedgerReport {
        self.snapshot().report()
    }

    /// The counters now; two of them make a report of the time between.
    pub fn snapshot(&self) -> Snapshot {
        let uptime = Duration::from_nanos(Moment::now().since(self.since));
        let overflowed = self.overflowed.load(Relaxed);
        Snapshot::take(self.handlers(), uptime, overflowed, self.waits.is_told())
    }

    /// Every row, of handlers that were asked for or not.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = &Handler> {
        let rows = self.rows.iter().filter_map(|row| row.get().map(Box::as_ref));
        rows.chain([&self.unmatched, &self.other])
    }

    /// Polls that took too long.
    pub(crate) fn overruns(&self) -> &'static Overruns {
        self.overruns
    }

    /// Tasks that waited long for a worker.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Of requests in tokio-console.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// A hint of its own for a route; routes past the bound have none that helps.
    pub(crate) fn hint(&self) -> Hint {
        Hint(self.hinted.fetch_add(1, Relaxed))
    }

    /// The row of a handler; `route` is none where no route matched.
    #[inline]
    pub(crate) fn handler(
        &'static self,
        Hint(place): Hint,
        method: &Method,
        route: Option<&str>,
    ) -> &'static Handler {
        let Some(route) = route else { return &self.unmatched };
        let hint = self.hints.get(place);
        match hint.and_then(OnceLock::get) {
            Some(row) if row.is(method, route) => row,
            _ => self.find(hint, method, route),
        }
    }

    fn find(
        &'static self,
        hint: Option<&OnceLock<&'static Handler>>,
        method: &Method,
        route: &str,
    ) -> &'static Handler {
        let start = self.slot_of(method, route);
        let (after, before) = (&self.rows[start..], &self.rows[..start]);
        for slot in after.iter().chain(before) {
            let row = slot.get().map(Box::as_ref);
            let Some(row) = row.or_else(|| self.claim(slot, method, route)) else { break };
            if row.is(method, route) {
                return hint.map_or(row, |hint| {
                    // It stays what it was if there was one.
                    let _ = hint.set(row);
                    row
                });
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
        slot: &'a OnceLock<Box<Handler>>,
        method: &Method,
        route: &str,
    ) -> Option<&'a Handler> {
        if self.used.load(Acquire) >= self.max {
            return slot.get().map(Box::as_ref);
        }
        let _claiming = self.claiming.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.get().is_none() && self.used.load(Relaxed) < self.max {
            slot.get_or_init(|| Box::new(Handler::new(method.clone(), route, self.overruns)));
            self.used.fetch_add(1, Release);
        }
        slot.get().map(Box::as_ref)
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
    use crate::diagnostics::watch::slot::Slot;

    #[test]
    fn a_handler_keeps_its_row() {
        let ledger = Ledger::leak(4);
        let hint = ledger.hint();
        let first = ledger.handler(hint, &Method::GET, Some("/a"));
        for hint in [hint, ledger.hint(), Hint(usize::MAX)] {
            assert!(std::ptr::eq(first, ledger.handler(hint, &Method::GET, Some("/a"))));
            // What a hint leads to is checked.
            assert!(!std::ptr::eq(first, ledger.handler(hint, &Method::POST, Some("/a"))));
            assert!(!std::ptr::eq(first, ledger.handler(hint, &Method::GET, Some("/b"))));
        }
        assert_eq!(&*ledger.handler(hint, &Method::GET, None).route, "(unmatched)");
    }

    #[test]
    fn handlers_past_the_bound_share_a_row_and_are_counted() {
        let ledger = Ledger::leak(2);
        for route in ["/a", "/b", "/c", "/d", "/c"] {
            ledger.handler(ledger.hint(), &Method::GET, Some(route));
        }
        let route = |route| &*ledger.handler(ledger.hint(), &Method::GET, Some(route)).route;
        assert_eq!((route("/b"), route("/d")), ("/b", "(other)"));
        assert_eq!(ledger.report().overflowed, 4);
    }

    #[test]
    fn threads_agree_on_the_rows() {
        let ledger = Ledger::leak(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..1_000 {
                        let route = format!("/{}", round % 64);
                        let row = ledger.handler(Hint(round % 8), &Method::GET, Some(&route));
                        row.shard(Slot::current()).start();
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
