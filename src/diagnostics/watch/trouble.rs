//! What the watchdog has found out about a handler.
//!
//! It alone writes here, so that an addition needs no more than a load and a store, and nobody's
//! poll is slower for it.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::in_place::{HandedOver, InPlace};
use crate::diagnostics::stall::Class;

/// Counters of one handler.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Stalls and their nanoseconds, by class.
    stalls: [AtomicU64; CLASSES],
    stalled_ns: [AtomicU64; CLASSES],
    /// Of the stalls, those inside of `block_in_place`.
    pub(crate) in_place: InPlace,
    harm_ns: AtomicU64,
    /// Looks that found a poll of the handler running, and waiting for something.
    running: AtomicU64,
    blocked: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Troubles {
    stalls: [u64; CLASSES],
    stalled: [Duration; CLASSES],
    in_place: HandedOver,
    pub(crate) harm: Duration,
    running: u64,
    blocked: u64,
}

/// Stalls by whose fault they are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct StallCounts {
    /// The handler computed.
    pub cpu: u64,
    /// The handler waited in a system call.
    pub blocked: u64,
    /// The machine did not run the thread: not the handler's fault.
    pub preempted: u64,
    /// The system does not say.
    pub unknown: u64,
    /// The handler had handed its worker over with `tokio::task::block_in_place`: of any class but
    /// `preempted`, and not among those above.
    #[serde(default)]
    pub in_place: u64,
}

const CLASSES: usize = Class::ALL.len();

impl Trouble {
    /// A stall has ended.
    pub(crate) fn stall(&self, class: Class, length: Duration) {
        add(&self.stalls[class as usize], 1);
        add(&self.stalled_ns[class as usize], nanoseconds(length));
    }

    /// Other tasks waited so long while a stall of the handler held a worker.
    pub(crate) fn harm(&self, waited: Duration) {
        add(&self.harm_ns, nanoseconds(waited));
    }

    /// A thread was looked at while it polled the handler.
    pub(crate) fn seen(&self, is_blocked: bool) {
        add(if is_blocked { &self.blocked } else { &self.running }, 1);
    }

    pub(crate) fn now(&self) -> Troubles {
        Troubles {
            stalls: std::array::from_fn(|class| self.stalls[class].load(Relaxed)),
            stalled: std::array::from_fn(|class| {
                Duration::from_nanos(self.stalled_ns[class].load(Relaxed))
            }),
            in_place: self.in_place.now(),
            harm: Duration::from_nanos(self.harm_ns.load(Relaxed)),
            running: self.running.load(Relaxed),
            blocked: self.blocked.load(Relaxed),
        }
    }
}

impl std::ops::AddAssign for Troubles {
    fn add_assign(&mut self, other: Self) {
        let Self { stalls, stalled, in_place, harm, running, blocked } = other;
        self.in_place += in_place;
        self.stalls.iter_mut().zip(stalls).for_each(|(sum, count)| *sum += count);
        self.stalled.iter_mut().zip(stalled).for_each(|(sum, time)| *sum += time);
        self.harm += harm;
        self.running += running;
        self.blocked += blocked;
    }
}

impl Troubles {
    /// What was added since an earlier look.
    pub(crate) fn since(&self, old: &Self) -> Self {
        Self {
            stalls: std::array::from_fn(|class| {
                self.stalls[class].saturating_sub(old.stalls[class])
            }),
            stalled: std::array::from_fn(|class| {
                self.stalled[class].saturating_sub(old.stalled[class])
            }),
            in_place: self.in_place.since(&old.in_place),
            harm: self.harm.saturating_sub(old.harm),
            running: self.running.saturating_sub(old.running),
            blocked: self.blocked.saturating_sub(old.blocked),
        }
    }

    pub(crate) fn counts(&self) -> StallCounts {
        // What is noted late may have been counted before the window began.
        let of = |class: Class| {
            self.stalls[class as usize].saturating_sub(self.in_place.stalls[class as usize])
        };
        StallCounts {
            cpu: of(Class::Cpu),
            blocked: of(Class::Blocked),
            preempted: of(Class::Preempted),
            unknown: of(Class::Unknown),
            in_place: self.in_place.count(),
        }
    }

    /// Time in stalls that held a worker, but for those that are the machine's fault.
    pub(crate) fn stalled(&self) -> Duration {
        let own = Class::ALL.into_iter().filter(|class| *class != Class::Preempted);
        own.map(|class| class as usize)
            .map(|class| self.stalled[class].saturating_sub(self.in_place.stalled[class]))
            .sum()
    }

    /// Time in stalls of one class.
    pub(crate) fn stalled_as(&self, class: Class) -> Duration {
        self.stalled[class as usize]
    }

    /// Shares of the time in polls that the handler ran, and was blocked; none where it was seen
    /// too seldom to tell.
    pub(crate) fn shares(&self) -> Option<(f64, f64)> {
        /// Looks: below, a share is off by a quarter as often as not.
        const ENOUGH: u64 = 8;
        let looks = self.running + self.blocked;
        let blocked = self.blocked as f64 / looks as f64;
        (looks >= ENOUGH).then_some((1.0 - blocked, blocked))
    }
}

impl StallCounts {
    /// Stalls that the machine is not to blame for.
    pub fn own(&self) -> u64 {
        self.cpu + self.blocked + self.unknown
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.own() + self.preempted + self.in_place
    }
}

/// There is one writer.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed) + count, Relaxed);
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn preempted_stalls_are_counted_and_are_nobody_s_time() {
        let trouble = Trouble::default();
        trouble.stall(Class::Cpu, 20 * MS);
        let earlier = trouble.now();
        trouble.stall(Class::Blocked, 30 * MS);
        trouble.stall(Class::Preempted, 40 * MS);
        trouble.harm(5 * MS);
        let counts = trouble.now().counts();
        assert_eq!((counts.cpu, counts.blocked, counts.preempted, counts.unknown), (1, 1, 1, 0));
        assert_eq!((counts.own(), counts.all()), (2, 3));
        assert_eq!(trouble.now().stalled(), 50 * MS);
        let later = trouble.now().since(&earlier);
        assert_eq!((later.counts().own(), later.stalled(), later.harm), (1, 30 * MS, 5 * MS));
    }

    #[test]
    fn stalls_in_place_are_counted_apart_even_when_that_is_known_later() {
        let trouble = Trouble::default();
        trouble.stall(Class::Blocked, 30 * MS);
        trouble.stall(Class::Cpu, 20 * MS);
        let earlier = trouble.now();
        trouble.in_place.note(Class::Blocked, 1, 30 * MS);
        let counts = trouble.now().counts();
        assert_eq!((counts.cpu, counts.blocked, counts.in_place), (1, 0, 1));
        assert_eq!((counts.own(), counts.all(), trouble.now().stalled()), (1, 2, 20 * MS));
        // In a window that began after it had ended.
        let later = trouble.now().since(&earlier);
        assert_eq!((later.counts().own(), later.stalled()), (0, Duration::ZERO));
    }

    #[test]
    fn shares_need_enough_looks() {
        let trouble = Trouble::default();
        (0..7).for_each(|_| trouble.seen(true));
        assert_eq!(trouble.now().shares(), None);
        trouble.seen(false);
        assert_eq!(trouble.now().shares(), Some((0.125, 0.875)));
    }
}
