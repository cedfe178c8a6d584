//! The stacks of one poll that lasts: where it waited, and where it ran when it was last asked.
//!
//! A poll may wait in one place and then in another. Each place has its own stack and its own system
//! call, taken at one moment, and the time for which the thread was seen there: while the poll lasts
//! the newest place is the answer, and afterwards the one with the most time.

use std::{sync::Arc, time::Duration};

use super::super::{lock::RawLock, record::RawStack};
use crate::class::Class;

/// What was taken of a poll so far.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    /// The newest is the last.
    waits: Vec<Wait>,
    run: Option<Run>,
    /// Whether the thread was waiting at the last look.
    is_waiting: bool,
}

/// A place that the thread waited in.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) stack: Arc<RawStack>,
    pub(super) syscall: Option<&'static str>,
    /// Time slices of the thread before the wait: as long as they stay, it is the same wait.
    pub(super) slices: u64,
    /// For how long the thread was seen there.
    pub(super) time: Duration,
    /// How long after the threshold it was taken.
    pub(super) after: Duration,
    /// The word that it waits for in futex(2).
    pub(super) futex: Option<u64>,
    /// The lock that it waits for, and its probable holder.
    pub(super) lock: Option<Arc<RawLock>>,
    /// Age of the poll at the last search for the holder.
    pub(super) searched: Duration,
}

/// A place that the thread ran in.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) stack: Arc<RawStack>,
    pub(super) after: Duration,
    /// Whether the handler was at fault then, so that the stack shows how.
    pub(super) is_telling: bool,
    /// How old the poll was.
    pub(super) age: Duration,
}

/// The place to show for a stall.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) stack: Arc<RawStack>,
    /// The system call of the same moment; `None` if the thread ran.
    pub(super) syscall: Option<&'static str>,
    pub(super) after: Duration,
    pub(super) lock: Option<Arc<RawLock>>,
}

/// Places of one poll that are kept apart.
const PLACES: usize = 8;

impl Stacks {
    pub(super) fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.run.is_none()
    }

    pub(super) fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The thread was seen running.
    pub(super) fn runs(&mut self) {
        self.is_waiting = false;
    }

    /// The thread was seen waiting for a further `time`; returns whether it is the wait whose stack
    /// was taken last, so that none needs to be taken.
    pub(super) fn waits_on(&mut self, slices: Option<u64>, time: Duration) -> bool {
        self.is_waiting = true;
        match self.waits.last_mut() {
            Some(last) if Some(last.slices) == slices => {
                last.time += time;
                true
            }
            _ => false,
        }
    }

    /// Adds a stack of a thread that waits.
    pub(super) fn waited(&mut self, mut wait: Wait) {
        let same = |old: &Wait| old.stack == wait.stack && old.syscall == wait.syscall;
        if let Some(place) = self.waits.iter().position(same) {
            let old = self.waits.remove(place);
            wait.time += old.time;
            wait.after = old.after;
            wait.lock = wait.lock.or(old.lock);
        } else if self.waits.len() >= PLACES {
            let least = (0..self.waits.len()).min_by_key(|place| self.waits[*place].time);
            least.map(|place| self.waits.remove(place));
        }
        self.waits.push(wait);
    }

    /// The place that the thread waits in now, if its stack was taken.
    #[cfg(sampler)]
    pub(super) fn current_wait(&mut self) -> Option<&mut Wait> {
        self.waits.last_mut().filter(|_| self.is_waiting)
    }

    /// Sets the stack of a thread that ran.
    pub(super) fn ran(&mut self, run: Run) {
        self.run = Some(run);
    }

    /// The place that shows how a stall of this class came about.
    pub(super) fn shown(&self, class: Class, ended: bool) -> Option<Shown> {
        let run = || self.run.as_ref().map(Run::shown);
        let wait = || match self.waits.last() {
            Some(newest) if !ended && self.is_waiting => Some(newest.shown()),
            _ => self.waits.iter().max_by_key(|wait| wait.time).map(Wait::shown),
        };
        match class {
            // A thread that waits for a moment at a time is often found running in between.
            Class::Blocked => wait().or_else(run),
            // A place that it waited in says nothing of what it computed.
            Class::Cpu => run(),
            Class::Preempted | Class::Unknown if self.is_waiting => wait().or_else(run),
            Class::Preempted | Class::Unknown => run().or_else(wait),
        }
    }
}

impl Wait {
    fn shown(&self) -> Shown {
        let Self { stack, syscall, after, lock, .. } = self;
        Shown { stack: Arc::clone(stack), syscall: *syscall, after: *after, lock: lock.clone() }
    }
}

impl Run {
    fn shown(&self) -> Shown {
        Shown { stack: Arc::clone(&self.stack), syscall: None, after: self.after, lock: None }
    }
}

#[cfg(all(test, sampler))]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn stack(address: u64) -> Arc<RawStack> {
        Arc::new(RawStack { addresses: [address].into(), truncated: false })
    }

    fn wait(address: u64, syscall: &'static str, slices: u64) -> Wait {
        let (stack, syscall) = (stack(address), Some(syscall));
        let (futex, lock) = (None, None);
        let (time, after, searched) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        Wait { stack, syscall, slices, time, after, futex, lock, searched }
    }

    fn shown(stacks: &Stacks, class: Class, ended: bool) -> Option<(u64, Option<&'static str>)> {
        stacks.shown(class, ended).map(|shown| (shown.stack.addresses[0], shown.syscall))
    }

    #[test]
    fn lasting_stall_shows_newest_wait_and_ended_one_the_longest() {
        let mut stacks = Stacks::default();
        assert!(!stacks.waits_on(Some(1), ms(10)));
        stacks.waited(wait(1, "clock_nanosleep", 1));
        assert!(stacks.waits_on(Some(1), ms(290)));
        assert_eq!(shown(&stacks, Class::Blocked, false), Some((1, Some("clock_nanosleep"))));
        assert!(!stacks.waits_on(Some(2), ms(5)));
        stacks.waited(wait(2, "futex", 2));
        assert_eq!(shown(&stacks, Class::Blocked, false), Some((2, Some("futex"))));
        assert_eq!(shown(&stacks, Class::Blocked, true), Some((1, Some("clock_nanosleep"))));
        assert!(stacks.waits_on(Some(2), ms(400)));
        assert_eq!(shown(&stacks, Class::Blocked, true), Some((2, Some("futex"))));
    }

    #[test]
    fn stack_of_running_thread_has_no_system_call() {
        let mut stacks = Stacks::default();
        stacks.waits_on(Some(1), ms(1));
        stacks.waited(wait(1, "futex", 1));
        assert_eq!(shown(&stacks, Class::Cpu, true), None);
        stacks.runs();
        let (stack, after, age) = (stack(2), ms(1), ms(11));
        stacks.ran(Run { stack, after, is_telling: true, age });
        assert_eq!(shown(&stacks, Class::Cpu, true), Some((2, None)));
        assert_eq!(shown(&stacks, Class::Blocked, true), Some((1, Some("futex"))));
    }

    #[test]
    fn places_of_one_poll_are_bounded_and_the_longest_stay() {
        let mut stacks = Stacks::default();
        stacks.waited(Wait { time: ms(100), ..wait(0, "read", 0) });
        for place in 1..100 {
            stacks.waited(Wait { time: ms(1), ..wait(place, "read", place) });
        }
        assert_eq!(stacks.waits.len(), PLACES);
        assert_eq!(shown(&stacks, Class::Blocked, true), Some((0, Some("read"))));
        // The same place again is one place.
        stacks.waited(Wait { time: ms(200), ..wait(99, "read", 1000) });
        assert_eq!(stacks.waits.len(), PLACES);
        assert_eq!(shown(&stacks, Class::Blocked, true), Some((99, Some("read"))));
    }
}
