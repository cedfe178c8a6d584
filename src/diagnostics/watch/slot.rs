//! A place for every thread that polls handlers, so that each counts for itself.
//!
//! Workers that add to the same counters wait for each other's caches, and even alone an atomic
//! addition costs several times a plain one. A thread with a slot of its own writes where nobody
//! else does.

use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};

/// Slots: one for each of the first threads, and a last one that all others share.
pub(crate) const SLOTS: usize = OWN + 1;

/// Threads that have a slot to themselves at a time: more than most machines have cores.
const OWN: usize = 64;

static TAKEN: [AtomicBool; OWN] = [const { AtomicBool::new(false) }; OWN];

thread_local! {
    static CURRENT: Claim = Claim::new();
}

/// Where this thread counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot(usize);

/// A thread's hold on its slot; given back when the thread ends.
struct Claim(Slot);

impl Slot {
    /// The slot that several threads share.
    const SHARED: Self = Self(OWN);

    /// This thread's.
    #[inline]
    pub(crate) fn current() -> Self {
        // A thread that is ending has given its slot back.
        CURRENT.try_with(|claim| claim.0).unwrap_or(Self::SHARED)
    }

    /// Its number, below [`SLOTS`].
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0
    }

    /// Whether no other thread has it.
    #[inline]
    pub(crate) fn is_own(self) -> bool {
        self != Self::SHARED
    }
}

impl Claim {
    /// Acquires what the slot's last thread has written: this one goes on from there.
    fn new() -> Self {
        let free =
            |taken: &AtomicBool| taken.compare_exchange(false, true, Acquire, Relaxed).is_ok();
        Self(TAKEN.iter().position(free).map_or(Slot::SHARED, Slot))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(taken) = TAKEN.get(self.0.index()) {
            taken.store(false, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Barrier, thread};

    use super::*;

    #[test]
    fn a_thread_keeps_its_slot_and_no_other_has_it() {
        let threads = 8;
        let all_have_one = Barrier::new(threads);
        let slots: Vec<_> = thread::scope(|scope| {
            let claim = || {
                let slot = Slot::current();
                all_have_one.wait();
                assert_eq!(slot, Slot::current());
                slot
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(claim)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let own: Vec<_> = slots.iter().filter(|slot| slot.is_own()).collect();
        let distinct: HashSet<_> = own.iter().map(|slot| slot.index()).collect();
        assert_eq!(distinct.len(), own.len());
    }

    #[test]
    fn past_the_last_one_threads_share_and_slots_come_back() {
        // Twice as many threads one after the other as there are slots: they are given back.
        for _ in 0..2 * OWN {
            let slot = thread::spawn(Slot::current).join().expect("no panic");
            assert!(slot.index() < SLOTS);
        }
        let held: Vec<_> = (0..=OWN).map(|_| Claim::new()).collect();
        assert!(!held[OWN].0.is_own());
        assert_eq!(held[OWN].0.index(), SLOTS - 1);
    }
}
