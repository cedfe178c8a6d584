//! A row of the ledger: what threads and the watchdog have counted, for one handler at a time.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use thermograph_sampler::{SLOTS, Slot};

use super::{
    shard::Shard,
    trouble::{Trouble, nanoseconds},
};

/// Counters of one row; they only grow.
pub(crate) struct Counters {
    /// What the watchdog has found out.
    pub(crate) trouble: Trouble,
    /// By slot.
    shards: [OnceLock<Box<OfSlot>>; SLOTS],
}

/// What one slot has counted, some 14 KiB; made when its thread first polls a handler of the row.
struct OfSlot {
    shard: Shard,
    /// Nanoseconds in polls of the handlers that had the row before.
    polled_before: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self { trouble: Trouble::default(), shards: [const { OnceLock::new() }; SLOTS] }
    }

    /// Where a thread with this slot counts; `is_new` is called if it has not counted before.
    #[inline]
    pub(crate) fn shard(&self, slot: Slot, is_new: impl FnOnce()) -> &Shard {
        let new = || {
            is_new();
            OfSlot { shard: Shard::new(slot), polled_before: AtomicU64::new(0) }
        };
        &self.shards[slot.index()].get_or_init(|| Box::new(new())).shard
    }

    /// What every thread has counted.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter_map(|of| of.get().map(|of| &of.shard))
    }

    /// Nanoseconds that the thread with this slot has polled the row's handler; `None` if it never
    /// has.
    pub(crate) fn polled_by(&self, slot: Slot) -> Option<u64> {
        let of = self.shards[slot.index()].get()?;
        let before = of.polled_before.load(Relaxed);
        let polled = of.shard.polls.sum_ns().saturating_sub(before);
        (polled > 0 || before == 0).then_some(polled)
    }

    /// The row is given to another handler.
    pub(crate) fn change_hands(&self) {
        for of in self.shards.iter().filter_map(OnceLock::get) {
            of.polled_before.store(of.shard.polls.sum_ns(), Relaxed);
        }
    }

    /// Requests that began and nanoseconds of polls: equal at two looks where nothing happened in
    /// between.
    pub(crate) fn activity(&self) -> Activity {
        let mut activity = Activity::default();
        for shard in self.shards() {
            activity.started = activity.started.wrapping_add(shard.counts().started);
            activity.polled_ns = activity.polled_ns.wrapping_add(shard.polls.sum_ns());
        }
        let troubles = self.trouble.now();
        activity.stalls = troubles.counts().all();
        // A stall that lasts is not at rest.
        activity.stalled_ns = nanoseconds(troubles.longest_lasting());
        activity
    }
}

/// What changes when a row is used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Activity {
    pub(crate) started: u64,
    polled_ns: u64,
    stalls: u64,
    stalled_ns: u64,
}
