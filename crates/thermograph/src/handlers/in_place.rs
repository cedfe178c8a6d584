//! Stalls inside of `tokio::task::block_in_place`, which hands the worker to another thread.
//!
//! They are counted among the stalls of their class when they end, and noted here as soon as their
//! stack has names: a stack is looked up after the stall has been found, and maybe after it has
//! ended. What readers are told is the difference.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::trouble::nanoseconds;
use crate::class::Class;

const CLASSES: usize = Class::ALL.len();

/// Counters of one handler, by class.
#[derive(Debug, Default)]
pub(crate) struct InPlace {
    stalls: [AtomicU64; CLASSES],
    stalled_ns: [AtomicU64; CLASSES],
}

/// The counters at one moment, or what was added in a window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HandedOver {
    pub(crate) stalls: [u64; CLASSES],
    pub(crate) stalled: [Duration; CLASSES],
}

impl InPlace {
    /// Stalls of a class that were counted turn out to be such ones.
    pub(crate) fn note(&self, class: Class, count: u64, length: Duration) {
        self.stalls[class as usize].fetch_add(count, Relaxed);
        self.stalled_ns[class as usize].fetch_add(nanoseconds(length), Relaxed);
    }

    pub(crate) fn now(&self) -> HandedOver {
        HandedOver {
            stalls: std::array::from_fn(|class| self.stalls[class].load(Relaxed)),
            stalled: std::array::from_fn(|class| {
                Duration::from_nanos(self.stalled_ns[class].load(Relaxed))
            }),
        }
    }
}

impl std::ops::AddAssign for HandedOver {
    fn add_assign(&mut self, Self { stalls, stalled }: Self) {
        self.stalls.iter_mut().zip(stalls).for_each(|(sum, count)| *sum += count);
        self.stalled.iter_mut().zip(stalled).for_each(|(sum, time)| *sum += time);
    }
}

impl HandedOver {
    pub(crate) fn since(&self, old: &Self) -> Self {
        Self {
            stalls: std::array::from_fn(|class| {
                self.stalls[class].saturating_sub(old.stalls[class])
            }),
            stalled: std::array::from_fn(|class| {
                self.stalled[class].saturating_sub(old.stalled[class])
            }),
        }
    }

    /// Stalls of all classes.
    pub(crate) fn count(&self) -> u64 {
        self.stalls.iter().sum()
    }
}
