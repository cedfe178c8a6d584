//! One row of the ledger.

use std::sync::OnceLock;

use http::Method;

use super::{
    overrun::Overruns,
    shard::Shard,
    slot::{SLOTS, Slot},
    trouble::{Trouble, nanoseconds},
};

/// The method of work that is no request; its route is where it was spawned.
pub(crate) const TASK: &str = "TASK";

/// A handler, and what each thread has counted for it.
pub(crate) struct Handler {
    pub(crate) method: Method,
    pub(crate) route: Box<str>,
    /// Where its polls go that take too long.
    pub(crate) overruns: &'static Overruns,
    /// From which length that is, in nanoseconds: near at hand, since every poll is compared.
    threshold_ns: u64,
    /// What the watchdog has found out.
    pub(crate) trouble: Trouble,
    /// By slot; made when the thread first polls the handler, some 14 KiB each.
    shards: [OnceLock<Box<Shard>>; SLOTS],
}

impl Handler {
    pub(crate) fn new(method: Method, route: &str, overruns: &'static Overruns) -> Self {
        let threshold_ns = nanoseconds(overruns.threshold());
        let shards = [const { OnceLock::new() }; SLOTS];
        let trouble = Trouble::default();
        Self { method, route: route.into(), overruns, threshold_ns, trouble, shards }
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

    /// Whether a poll of so many nanoseconds is a stall.
    #[inline]
    pub(crate) fn is_too_long(&self, ns: u64) -> bool {
        ns >= self.threshold_ns
    }

    /// Where a thread with this slot counts.
    #[inline]
    pub(crate) fn shard(&self, slot: Slot) -> &Shard {
        self.shards[slot.index()].get_or_init(|| self.new_shard(slot))
    }

    #[cold]
    fn new_shard(&self, slot: Slot) -> Box<Shard> {
        #[cfg(sampler)]
        crate::diagnostics::workers::note(self.overruns);
        Box::new(Shard::new(slot))
    }

    /// What the thread with this slot has counted; none where it never polled the handler.
    pub(crate) fn counted_by(&self, slot: Slot) -> Option<&Shard> {
        self.shards[slot.index()].get().map(Box::as_ref)
    }

    /// What every thread has counted.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter_map(|shard| shard.get().map(Box::as_ref))
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
