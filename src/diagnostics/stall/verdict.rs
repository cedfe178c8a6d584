//! Whose fault a stall is: arithmetic on what the kernel says of a thread.
//!
//! Of the time that a poll lasts, the thread runs, waits for a processor, or waits for something
//! else. Time in which it waits for a processor is not the handler's: a poll that would have been
//! short without it is *preempted*. Of the rest, whichever is more.
//!
//! A virtual machine's processor can itself be taken away, and so can one that serves interrupts:
//! then time passes that the kernel adds up nowhere. It counts as blocked only if the thread gave
//! its processor away meanwhile, or was seen to be blocked.

use std::time::Duration;

use super::Class;
use crate::diagnostics::watch::Times;

/// How the time of a poll was spent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Spent {
    pub(crate) run: Duration,
    /// Waiting for a processor, or on one that did something else.
    pub(crate) queued: Duration,
    /// Waiting for anything else.
    pub(crate) blocked: Duration,
}

/// Adds up how a poll's time is spent, from one look to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    /// Of the thread, at the first look; how old the poll was then.
    base: Times,
    from: Duration,
    last: Look,
    /// Time between looks that was spent waiting for something, as far as was seen.
    seen_blocked: Duration,
    /// Before the first look, as far as it can be guessed.
    before: Spent,
}

/// What was seen at one look.
#[derive(Clone, Copy, Debug)]
struct Look {
    unaccounted: Duration,
    was_blocked: bool,
}

impl Account {
    /// Begins with a look at a poll that is so old. `habit` are the thread's times some while
    /// before.
    ///
    /// What the thread did in this poll so far is a guess: who is blocked now was so before, and who
    /// is not was queued as much of the time as the thread was lately. Of the rest nothing is said.
    pub(crate) fn open(
        age: Duration,
        habit: Option<Times>,
        times: Times,
        is_blocked: bool,
    ) -> Self {
        let before = if is_blocked {
            Spent { blocked: age, ..Spent::default() }
        } else {
            let Times { run, wait, .. } =
                habit.map_or(Times::default(), |habit| times.since(habit));
            let queued = match wait.as_secs_f64() / (wait + run).as_secs_f64() {
                // The thread did neither, or it is not known.
                share if share.is_nan() => Duration::ZERO,
                share => age.mul_f64(share),
            };
            Spent { queued, ..Spent::default() }
        };
        let last = Look { unaccounted: Duration::ZERO, was_blocked: is_blocked };
        Self { base: times, from: age, last, seen_blocked: Duration::ZERO, before }
    }

    /// A further look at a poll that lasts.
    ///
    /// The kernel adds a wait for a processor up when it is over. What it has not added up yet is
    /// that, where the thread could run at this look and at the one before, and else it is time
    /// that the thread was blocked.
    pub(crate) fn look(&mut self, age: Duration, times: Times, is_blocked: bool) -> Spent {
        let Times { run, wait, .. } = times.since(self.base);
        let unaccounted = age.saturating_sub(self.from).saturating_sub(run + wait);
        if is_blocked || self.last.was_blocked {
            self.seen_blocked += unaccounted.saturating_sub(self.last.unaccounted);
        }
        self.last = Look { unaccounted, was_blocked: is_blocked };
        self.spent(run, wait, unaccounted, is_blocked)
    }

    /// The end of a poll: the thread runs, so every wait is over and added up.
    ///
    /// Its thread was `asked` so often for its stack. Each time it may have waited once for the map
    /// of the memory, which is no doing of the handler's.
    pub(crate) fn close(&self, length: Duration, times: Times, asked: u32) -> Spent {
        let Times { run, wait, waits } = times.since(self.base);
        let unaccounted = length.saturating_sub(self.from).saturating_sub(run + wait);
        let has_waited = waits > u64::from(asked) || self.last.was_blocked;
        self.spent(run, wait, unaccounted, has_waited)
    }

    /// All of the poll. Of what the kernel has not added up it was blocked all the time, or as long
    /// as was seen; the rest it waited for a processor.
    fn spent(
        &self,
        run: Duration,
        wait: Duration,
        unaccounted: Duration,
        is_all_blocked: bool,
    ) -> Spent {
        let blocked = if is_all_blocked { unaccounted } else { self.seen_blocked.min(unaccounted) };
        let queued = wait + unaccounted.saturating_sub(blocked);
        Spent { run, queued, blocked } + self.before
    }
}

impl Spent {
    /// At most, and in this order: what a poll can have been queued, and can have run, by the times
    /// of its thread some while before it and at its end. It was never looked at meanwhile.
    pub(crate) fn unseen(length: Duration, earlier: Times, times: Times) -> Self {
        let Times { run, wait, waits } = times.since(earlier);
        let queued = wait.min(length);
        let run = run.min(length.saturating_sub(queued));
        let rest = length.saturating_sub(queued + run);
        if waits > 0 {
            Self { run, queued, blocked: rest }
        } else {
            Self { run, queued: queued + rest, blocked: Duration::ZERO }
        }
    }

    /// How much of a poll of this length is the handler's own.
    pub(crate) fn own(&self, length: Duration) -> Duration {
        length.saturating_sub(self.queued)
    }

    /// The class of a poll of this length.
    pub(crate) fn class(&self, length: Duration, threshold: Duration) -> Class {
        if self.own(length) < threshold {
            Class::Preempted
        } else if self.run >= self.blocked {
            Class::Cpu
        } else {
            Class::Blocked
        }
    }
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            run: self.run + other.run,
            queued: self.queued + other.queued,
            blocked: self.blocked + other.blocked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: Duration = Duration::from_millis(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn times(run: u64, wait: u64) -> Times {
        Times { run: ms(run), wait: ms(wait), waits: 7 }
    }

    /// A poll that was first looked at when it was 5 ms old, of a thread that is never queued.
    fn account(is_blocked: bool) -> Account {
        Account::open(ms(5), Some(times(50, 100)), times(100, 100), is_blocked)
    }

    #[test]
    fn who_computes_is_cpu() {
        let spent = account(false).look(ms(11), times(106, 100), false);
        assert_eq!(spent.class(ms(11), THRESHOLD), Class::Cpu);
        let spent = account(false).close(ms(30), times(125, 100), 0);
        assert_eq!(spent.class(ms(30), THRESHOLD), Class::Cpu);
    }

    #[test]
    fn who_waits_for_something_is_blocked() {
        let mut sleeps = account(true);
        let spent = sleeps.look(ms(11), times(100, 100), true);
        assert_eq!(spent.class(ms(11), THRESHOLD), Class::Blocked);
        // Between two looks it woke up, and waits for a processor: that was no computing.
        let spent = sleeps.look(ms(16), times(100, 100), false);
        assert_eq!((spent.blocked, spent.queued), (ms(16), ms(0)));
        let spent = sleeps.look(ms(20), times(100, 100), false);
        assert_eq!((spent.blocked, spent.queued), (ms(16), ms(4)));
        assert_eq!(spent.class(ms(20), THRESHOLD), Class::Blocked);
        // So it is at the end, when that wait is added up.
        let spent = sleeps.close(ms(21), times(100, 104), 0);
        assert_eq!((spent.blocked, spent.queued), (ms(16), ms(5)));
        assert_eq!(spent.class(ms(21), THRESHOLD), Class::Blocked);
    }

    #[test]
    fn who_is_not_scheduled_is_preempted_even_before_the_kernel_adds_it_up() {
        let mut waits = account(false);
        let spent = waits.look(ms(11), times(101, 100), false);
        assert_eq!((spent.queued, spent.own(ms(11))), (ms(5), ms(6)));
        assert_eq!(spent.class(ms(11), THRESHOLD), Class::Preempted);
        // The whole wait counts when it is over, what was before the first look too.
        let spent = waits.close(ms(12), times(102, 110), 0);
        assert_eq!(spent.own(ms(12)), ms(2));
        assert_eq!(spent.class(ms(12), THRESHOLD), Class::Preempted);
    }

    #[test]
    fn time_that_passes_nowhere_is_the_handler_s_only_if_it_waited() {
        let nowhere = times(101, 100);
        let spent = account(false).close(ms(20), nowhere, 0);
        assert_eq!(spent.class(ms(20), THRESHOLD), Class::Preempted);
        let waited = Times { waits: 8, ..nowhere };
        let spent = account(false).close(ms(20), waited, 0);
        assert_eq!(spent.class(ms(20), THRESHOLD), Class::Blocked);
        // It was we who made it wait.
        let spent = account(false).close(ms(20), waited, 1);
        assert_eq!(spent.class(ms(20), THRESHOLD), Class::Preempted);
    }

    #[test]
    fn what_was_before_the_first_look_is_as_it_was_lately() {
        // Three quarters of the time it was queued.
        let habit = times(90, 70);
        let busy = Account::open(ms(8), Some(habit), times(100, 100), false);
        let spent = busy.close(ms(48), times(103, 137), 0);
        assert_eq!(spent.own(ms(48)), ms(5));
        assert_eq!(spent.class(ms(48), THRESHOLD), Class::Preempted);
        // But it sleeps now, and so did before.
        let sleeps = Account::open(ms(15), Some(habit), times(100, 100), true);
        let spent = sleeps.close(ms(30), times(100, 100), 0);
        assert_eq!(spent.class(ms(30), THRESHOLD), Class::Blocked);
        let computes = Account::open(ms(15), None, times(100, 100), false);
        let spent = computes.close(ms(30), times(115, 100), 0);
        assert_eq!(spent.class(ms(30), THRESHOLD), Class::Cpu);
        // Never looked at, it may have been queued all the while.
        let spent = Spent::unseen(ms(12), habit, times(90, 81));
        assert_eq!(spent.class(ms(12), THRESHOLD), Class::Preempted);
    }

    #[test]
    fn who_computes_long_enough_is_at_fault_however_long_it_waited_besides() {
        let spent = account(false).close(ms(60), times(125, 130), 0);
        assert_eq!(spent.class(ms(60), THRESHOLD), Class::Cpu);
    }
}
