//! The ledger: a bounded table of handlers that is read and written without a lock.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Method;
use thermograph_sampler::Moment;

use super::{
    budget::Budget,
    delays::Delays,
    estimate::Learnt,
    handler::{ANY_METHOD, Handler, OTHER, UNMATCHED},
    overrun::Overruns,
    registry::Registry,
    route::Place,
    snapshot::{LedgerReport, Snapshot},
    waits::Waits,
};

/// What each handler has cost.
///
/// A lookup is a hash and a few loads without a lock. A route that was watched before finds its
/// handler without a hash, by a hint. Handlers past the bound share a row, until one that has done
/// nothing for a while gives way.
///
/// It lives as long as the process: a request that held a count of it would have every worker
/// write to the one counter, twice a request.
pub struct Ledger {
    registry: &'static Registry,
    hints: Box<[OnceLock<&'static Handler>]>,
    hinted: AtomicUsize,
    /// By hint, too.
    places: Box<[Place]>,
    overruns: &'static Overruns,
    delays: Delays,
    /// Of requests in tokio-console.
    budget: Budget,
    /// Requests of handlers past the bound; counted in the row `other` too.
    overflowed: AtomicU64,
    /// Requests that matched no route: scanners must not fill the table.
    unmatched: &'static Handler,
    /// Handlers past the bound.
    other: &'static Handler,
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
        Self::with_registry(Registry::leak(max), max, overruns)
    }

    fn with_registry(registry: &'static Registry, max: usize, overruns: &'static Overruns) -> Self {
        let shared =
            |route, row| Handler::in_row(registry, any_method(), route, overruns, row).leak();
        Self {
            registry,
            hints: (0..(max * 2).next_power_of_two()).map(|_| OnceLock::new()).collect(),
            hinted: AtomicUsize::new(0),
            places: (0..(max * 2).next_power_of_two()).map(|_| Place::default()).collect(),
            overruns,
            delays: Delays::default(),
            // A tenth of a second's at once.
            budget: Budget::new(Budget::PER_SECOND, Budget::SECOND / 10),
            overflowed: AtomicU64::new(0),
            unmatched: shared(UNMATCHED, Registry::UNMATCHED),
            other: shared(OTHER, Registry::OTHER),
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
        self.registry.look();
        loop {
            let hands = self.registry.hands();
            let uptime = Duration::from_nanos(Moment::now().since(self.since));
            let overflowed = self.overflowed.load(Relaxed);
            let (is_told, delayed) = (self.waits().is_told(), self.delays.now());
            let (handlers, overruns) = (self.handlers(), self.overruns);
            let mut now = Snapshot::take(handlers, uptime, overflowed, overruns, is_told, delayed);
            // Rows change hands once in a second at most.
            if self.registry.is_unchanged(&hands) {
                now.settle(&hands);
                return now;
            }
        }
    }

    /// Every handler that has a row, whether it was asked for or not.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = &'static Handler> {
        self.registry.with_rows().chain([self.unmatched, self.other])
    }

    /// Polls that took too long.
    pub(crate) fn overruns(&self) -> &'static Overruns {
        self.overruns
    }

    /// Requests and tasks that waited long for a worker.
    pub(crate) fn waits(&self) -> &Waits {
        self.overruns.waits()
    }

    /// Learns how many requests arrive while nothing stalls; one thread does, now and then.
    pub(crate) fn learn(&self, last: &mut Option<Learnt>) {
        let shards = self.handlers().flat_map(Handler::shards);
        let started = shards.map(|shard| shard.counts().started).sum();
        self.overruns.estimate().learn(last, started, self.overruns.stalled());
    }

    /// Whom stalls delayed.
    pub(crate) fn delays(&self) -> &Delays {
        &self.delays
    }

    /// Of requests in tokio-console.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The handler of this name, if it is known or may become so, with a row of its own or without.
    pub(crate) fn known(
        &'static self,
        method: &Method,
        route: &str,
        may_be_new: impl FnOnce() -> bool,
    ) -> Option<&'static Handler> {
        let registry = self.registry;
        let known = registry.find(method, route);
        known.or_else(|| {
            may_be_new().then(|| registry.intern(method, route, self.overruns)).flatten()
        })
    }

    /// Where paths are noted that match no route there.
    pub(crate) fn place(&self, Hint(place): Hint) -> Option<&Place> {
        self.places.get(place)
    }

    /// A hint of its own for a route; routes past the bound have none that helps.
    pub(crate) fn hint(&self) -> Hint {
        Hint(self.hinted.fetch_add(1, Relaxed))
    }

    /// The handler of a route; the one of all that match nothing where `route` is `None`, and the
    /// one of all others where it gets no row.
    #[inline]
    pub(crate) fn handler(
        &'static self,
        Hint(place): Hint,
        method: &Method,
        route: Option<&str>,
    ) -> &'static Handler {
        let Some(route) = route else { return self.unmatched };
        let hint = self.hints.get(place);
        match hint.and_then(OnceLock::get) {
            Some(handler) if handler.is(method, route) && handler.has_row() => handler,
            _ => self.find(hint, method, route),
        }
    }

    /// Finds the handler of a route by its name, where the hint leads to another one.
    #[inline(never)]
    fn find(
        &'static self,
        hint: Option<&OnceLock<&'static Handler>>,
        method: &Method,
        route: &str,
    ) -> &'static Handler {
        match self.registry.intern(method, route, self.overruns) {
            Some(handler) => {
                if let Some(hint) = hint {
                    // It stays what it was if there was one.
                    let _ = hint.set(handler);
                }
                self.admitted(handler)
            }
            None => self.overflow(),
        }
    }

    /// A handler, if it has a row or gets one; or else the one of all others.
    pub(crate) fn admitted(&'static self, handler: &'static Handler) -> &'static Handler {
        if handler.has_row() || self.registry.admit(handler) { handler } else { self.overflow() }
    }

    fn overflow(&'static self) -> &'static Handler {
        self.overflowed.fetch_add(1, Relaxed);
        self.other
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("handlers", &self.registry.used()).finish_non_exhaustive()
    }
}

#[expect(clippy::expect_used, reason = "a constant that is a legal token")]
fn any_method() -> Method {
    Method::from_bytes(ANY_METHOD.as_bytes()).expect("a legal token")
}

#[cfg(test)]
mod tests {
    use thermograph_sampler::Slot;

    use super::*;
    use crate::handlers::registry::Pace;

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

    /// A ledger in which rows are taken at once from handlers that have nothing in flight.
    fn without_pause(max: usize) -> &'static Ledger {
        let overruns = Box::leak(Box::new(Overruns::new(Ledger::THRESHOLD)));
        let none = Duration::ZERO;
        let pace = Pace { idle: none, idle_of_few: none, pause: none, between: none };
        let registry = Registry::leak_with(max, pace);
        Box::leak(Box::new(Ledger::with_registry(registry, max, overruns)))
    }

    /// A request that is over: its handler.
    fn ask(ledger: &'static Ledger, route: &str) -> &'static Handler {
        let handler = ledger.handler(ledger.hint(), &Method::GET, Some(route));
        let shard = handler.shard(Slot::current());
        shard.start();
        shard.poll(1000);
        shard.cancel();
        handler
    }

    /// Cancelled requests and polls by route.
    fn counted(snapshot: &Snapshot) -> Vec<(String, u64, u64)> {
        let handlers = snapshot.report().handlers.into_iter();
        let mut rows: Vec<_> = handlers.map(|row| (row.route, row.cancelled, row.polls)).collect();
        rows.sort();
        rows
    }

    fn row(route: &str, count: u64) -> (String, u64, u64) {
        (route.to_owned(), count, count)
    }

    #[test]
    fn handler_that_does_nothing_gives_way_and_nothing_is_lost() {
        let ledger = without_pause(2);
        ask(ledger, "/a");
        ask(ledger, "/b");
        ask(ledger, "/b");
        let earlier = ledger.snapshot();
        // The row with the fewest requests among those that are idle for equally long.
        assert_eq!(&*ask(ledger, "/c").route, "/c");
        let now = ledger.snapshot();
        assert_eq!(counted(&now), [row("(other)", 1), row("/b", 2), row("/c", 1)]);
        assert_eq!(counted(&now.since(&earlier)), [row("/c", 1)], "only what came since");

        // It comes back, in the row that another has had, and starts at 0 there.
        let again = ask(ledger, "/a");
        assert_eq!(&*again.route, "/a");
        let latest = ledger.snapshot();
        let sum: u64 = counted(&latest).iter().map(|(_, cancelled, _)| cancelled).sum();
        assert_eq!(sum, 5, "{:?}", counted(&latest));
        assert!(counted(&latest).contains(&row("/a", 1)), "{:?}", counted(&latest));
        assert_eq!(counted(&latest.since(&now)), [row("/a", 1)]);
        assert_eq!(counted(&latest.since(&earlier)), [row("/a", 1), row("/c", 1)]);
    }

    #[test]
    fn handler_with_a_request_in_flight_keeps_its_row() {
        let ledger = without_pause(1);
        let stream = ledger.handler(ledger.hint(), &Method::GET, Some("/stream"));
        let shard = stream.shard(Slot::current());
        shard.start();
        assert_eq!(&*ask(ledger, "/new").route, "(other)");
        shard.cancel();
        assert_eq!(&*ask(ledger, "/new").route, "/new");
        // A stall of the one without a row is counted in `(other)`, or gets a row.
        assert!(!stream.has_row());
    }

    #[test]
    fn row_that_was_taken_goes_to_another_only_after_a_pause() {
        let overruns = Box::leak(Box::new(Overruns::new(Ledger::THRESHOLD)));
        let none = Duration::ZERO;
        let pause = Duration::from_secs(1_000_000);
        let pace = Pace { idle: none, idle_of_few: none, pause, between: none };
        let ledger: &'static Ledger =
            Box::leak(Box::new(Ledger::with_registry(Registry::leak_with(1, pace), 1, overruns)));
        let first = ask(ledger, "/a");
        assert_eq!(&*ask(ledger, "/b").route, "(other)");
        assert!(!first.has_row());
        assert_eq!(&*ask(ledger, "/b").route, "(other)");
        assert_eq!(counted(&ledger.snapshot()), [row("(other)", 3)]);
        assert_eq!(ledger.report().overflowed, 2);
    }

    #[test]
    fn threads_that_count_while_rows_change_hands_lose_nothing() {
        const EACH: u64 = 2_000;
        let overruns = Box::leak(Box::new(Overruns::new(Ledger::THRESHOLD)));
        let pace = Pace {
            idle: Duration::ZERO,
            idle_of_few: Duration::ZERO,
            pause: Duration::from_millis(20),
            between: Duration::from_millis(1),
        };
        let registry = Registry::leak_with(8, pace);
        let ledger: &'static Ledger =
            Box::leak(Box::new(Ledger::with_registry(registry, 8, overruns)));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..EACH {
                        ask(ledger, &format!("/{}", (round / 100 + thread) % 24));
                        if round % 20 == 0 {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                });
            }
        });
        let rows = counted(&ledger.snapshot());
        let sum = rows.iter().fold((0, 0), |(a, b), row| (a + row.1, b + row.2));
        assert_eq!(sum, (4 * EACH, 4 * EACH), "{rows:?}");
        assert!(ledger.report().handlers.iter().all(|row| row.in_flight == 0));
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
        assert_eq!(ledger.registry.used(), 64);
        let started: u64 = report.handlers.iter().map(|row| row.in_flight).sum();
        assert_eq!(started, 4_000);
    }
}
