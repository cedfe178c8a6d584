//! A handler: its name, and the row of the ledger that it counts in.

use std::sync::{
    OnceLock,
    atomic::{
        AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use http::Method;
use thermograph_sampler::{Slot, WorkId};

use super::{
    counters::Counters, numbers, overrun::Overruns, registry::Registry, shard::Shard,
    trouble::Trouble,
};

/// The route of handlers without a row of their own.
pub(crate) const OTHER: &str = "(other)";
/// Ends the route of requests that matched none.
pub(crate) const UNMATCHED: &str = "(unmatched)";
/// The method shown for a row that many handlers share; a legal token.
pub(crate) const ANY_METHOD: &str = "*";
/// The method of work that is no request; its route is where it was spawned.
pub(crate) const TASK: &str = "TASK";

/// A handler. It stays in memory as long as the process lives, and its name stays the same; the row
/// that it counts in may change.
///
/// Fields that every poll reads are on its first cache line.
#[repr(C, align(64))]
pub(crate) struct Handler {
    pub(crate) method: Method,
    pub(crate) route: Box<str>,
    /// Where its polls go that take too long.
    pub(crate) overruns: &'static Overruns,
    registry: &'static Registry,
    /// Number of its row; [`Registry::NONE`] if it has none of its own.
    row: AtomicU32,
    /// Its number where it is published; none where there are too many handlers.
    number: Option<WorkId>,
    /// The handler that it is one of: of an RPC method its service, of named work its route.
    part_of: OnceLock<&'static Handler>,
    /// Whether it was ever answered as something that is there.
    is_proven: AtomicBool,
    /// Whether the app gave the name.
    is_named: AtomicBool,
    /// The sweep before which it last wanted a row, plus 1.
    wanted: AtomicU64,
    /// Names of work that count against a bound of this handler's.
    names: AtomicUsize,
}

impl Handler {
    /// A handler without a row of its own.
    pub(crate) fn new_in(
        registry: &'static Registry,
        method: Method,
        route: &str,
        overruns: &'static Overruns,
    ) -> Self {
        Self::in_row(registry, method, route, overruns, Registry::NONE)
    }

    /// A handler that counts in one of the rows that several share.
    pub(crate) fn in_row(
        registry: &'static Registry,
        method: Method,
        route: &str,
        overruns: &'static Overruns,
        row: usize,
    ) -> Self {
        Self {
            method,
            route: route.into(),
            overruns,
            registry,
            row: AtomicU32::new(row as u32),
            number: None,
            part_of: OnceLock::new(),
            is_proven: AtomicBool::new(false),
            is_named: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            names: AtomicUsize::new(0),
        }
    }

    /// Keeps it for as long as the process lives, and gives it its number.
    pub(crate) fn leak(self) -> &'static Self {
        let number = numbers::next();
        let handler: &'static Self = Box::leak(Box::new(Self { number, ..self }));
        if let Some(number) = number {
            numbers::set(number, handler);
        }
        handler
    }

    /// The handler of this number.
    #[inline]
    pub(crate) fn of(number: WorkId) -> Option<&'static Self> {
        numbers::get(number)
    }

    /// Whose work a thread does.
    #[inline]
    pub(crate) fn at_work_on(slot: Slot) -> Option<&'static Self> {
        slot.work().and_then(Self::of)
    }

    /// Its number where it is published.
    #[inline]
    pub(crate) fn number(&self) -> Option<WorkId> {
        self.number
    }

    /// A handler of a registry of its own.
    #[cfg(test)]
    pub(crate) fn new(method: Method, route: &str, overruns: &'static Overruns) -> Self {
        Self::in_row(Registry::leak(1), method, route, overruns, Registry::UNMATCHED)
    }

    /// Whether it counts in a row of its own.
    #[inline]
    pub(crate) fn has_row(&self) -> bool {
        self.row.load(Relaxed) as usize != Registry::NONE
    }

    pub(crate) fn set_row(&self, row: usize) {
        self.row.store(row as u32, Release);
    }

    /// Notes that it wants a row; returns whether it did not before this sweep.
    pub(crate) fn wants_row(&self, sweep: u64) -> bool {
        self.wanted.swap(sweep + 1, Relaxed) != sweep + 1
    }

    /// Takes one of at most so many names; returns whether there was one.
    pub(crate) fn take_name(&self, most: usize) -> bool {
        let more = |names: usize| (names < most).then_some(names + 1);
        self.names.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// The handler that it is one of.
    #[inline]
    pub(crate) fn part_of(&self) -> Option<&'static Handler> {
        self.part_of.get().copied()
    }

    /// Says which handler it is one of; the first one stays.
    pub(crate) fn set_part_of(&self, whole: &'static Handler) {
        let _ = self.part_of.set(whole);
    }

    /// Whether the app gave the name.
    pub(crate) fn is_named(&self) -> bool {
        self.is_named.load(Relaxed)
    }

    /// Notes that the app gave the name: it counts against the bound for good.
    pub(crate) fn set_named(&self) {
        self.is_named.store(true, Relaxed);
        self.is_proven.store(true, Relaxed);
    }

    /// Notes that it is there, so that its name no longer counts against the bound of names that a
    /// client may have made up.
    #[cold]
    pub(crate) fn prove(&self) {
        if !self.is_proven.swap(true, Relaxed)
            && let Some(whole) = self.part_of()
        {
            let fewer = |names: usize| names.checked_sub(1);
            let _ = whole.names.fetch_update(Relaxed, Relaxed, fewer);
        }
    }

    /// Notes the same of one whose name was never counted against the bound.
    #[cold]
    pub(crate) fn prove_without_name(&self) {
        self.is_proven.store(true, Relaxed);
    }

    /// Whether it was ever answered as something that is there.
    #[inline]
    pub(crate) fn is_proven(&self) -> bool {
        self.is_proven.load(Relaxed)
    }

    pub(crate) fn registry(&self) -> &'static Registry {
        self.registry
    }

    /// The row that it counts in.
    #[inline]
    pub(crate) fn counters(&self) -> &'static Counters {
        self.registry.counters(self.row.load(Acquire) as usize)
    }

    /// What the watchdog has found out.
    pub(crate) fn trouble(&'static self) -> &'static Trouble {
        // Tasks count nothing else, and so lose their row first.
        if !self.has_row() {
            self.registry.admit(self);
        }
        &self.counters().trouble
    }

    /// The same, for reports.
    pub(crate) fn known_trouble(&self) -> &Trouble {
        &self.counters().trouble
    }

    #[inline]
    pub(crate) fn is(&self, method: &Method, route: &str) -> bool {
        self.method == *method && *self.route == *route
    }

    /// Whether it is of the ledger with these: a process may have several.
    pub(crate) fn is_of(&self, overruns: &Overruns) -> bool {
        std::ptr::eq(self.overruns, overruns)
    }

    /// Whether it is work that is no request.
    pub(crate) fn is_task(&self) -> bool {
        self.method.as_str() == TASK
    }

    /// What it is in a profile.
    pub(crate) fn labels(&self) -> [(&'static str, String); 2] {
        [("route", self.route.to_string()), ("method", self.method.to_string())]
    }

    /// Where a thread with this slot counts.
    #[inline]
    pub(crate) fn shard(&self, slot: Slot) -> &'static Shard {
        #[cfg(sampler)]
        if self.overruns.wants_threads() {
            self.thread_is_wanted(slot);
        }
        self.counters().shard(slot, || self.thread_is_new())
    }

    /// A worker has moved to a thread that is not known: it may be this one. It is not asked in a
    /// poll, during which the worker may have moved away: Tokio calls both threads the worker then.
    #[cfg(sampler)]
    #[cold]
    fn thread_is_wanted(&self, slot: Slot) {
        if !slot.is_polling() {
            self.overruns.one_less_wanted();
            self.overruns.note_worker();
        }
    }

    /// A thread polls it for the first time.
    #[cold]
    fn thread_is_new(&self) {
        self.overruns.note_runtime();
    }

    /// Nanoseconds that the thread with this slot has polled it; `None` if it never has.
    pub(crate) fn polled_by(&self, slot: Slot) -> Option<u64> {
        self.counters().polled_by(slot)
    }

    /// What every thread has counted in its row.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.counters().shards()
    }
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.route)
    }
}

/// A handler, which is the same where it is in the same place: it is never freed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByPlace(pub(crate) &'static Handler);

impl PartialEq for ByPlace {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for ByPlace {}

impl std::hash::Hash for ByPlace {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::ptr::hash(self.0, state);
    }
}
