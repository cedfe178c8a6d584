//! Whose fault a stall is: arithmetic on what the kernel says of a thread.
//!
//! Of the time that a poll lasts, the thread runs, waits for a processor, or waits for something
//! else. Time in which it waits for a processor is not the handler's: a poll that would have been
//! short without it is *preempted*. Of the rest, whichever is more.
//!
//! The watchdog reads the thread's times from outside, at moments that it cannot choose: on a crowded
//! machine it comes late. So each of the three times is known within bounds only, and the class is
//! one that holds for all of them, or *unknown*. Three things are exact: what was added between two
//! looks at the poll and up to its end; that a thread which gave its processor away nowhere was not
//! blocked; and that a thread which is blocked at a look has no wait for a processor that is not
//! added up yet.
//!
//! A virtual machine's processor can itself be taken away, and so can one that serves interrupts:
//! then time passes that the kernel adds up nowhere. It counts as blocked only if the thread gave
//! its processor away meanwhile, or was seen to be blocked.

use std::{ops::Add, time::Duration};

use thermograph_sampler::Times;

use crate::class::Class;

/// How the time of a poll was spent, as far as it is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Spent {
    pub(crate) run: Bounds,
    /// Waiting for a processor, or on one that did something else.
    pub(crate) queued: Bounds,
    /// Waiting for anything else.
    pub(crate) blocked: Bounds,
}

/// A time that is at least so long and at most so long.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

/// A thread's times at a moment before a poll began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Earlier {
    pub(crate) times: Times,
    /// From then to the poll's start.
    pub(crate) gap: Duration,
}

/// Polls inside of a poll that lasts: their time is not its own, yet the thread's times contain it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nested {
    /// Length of all of them.
    pub(crate) length: Duration,
    /// Length of those whose times are known.
    known: Duration,
    spent: Spent,
}

/// Adds up how a poll's time is spent, from one look to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    first: First,
    /// Since the first look, as of the last one at which the thread was blocked.
    seen_blocked: Duration,
    was_ever_blocked: bool,
    /// The longest that a wait for a processor was going on at the first look, once it is over.
    ongoing: Option<Duration>,
}

/// The first look at a poll.
#[derive(Clone, Copy, Debug)]
struct First {
    earlier: Option<Earlier>,
    /// What was polled inside of the poll by then.
    nested: Duration,
    /// Of the thread.
    times: Times,
    /// How old the poll was, without what was polled inside of it.
    age: Duration,
    is_blocked: bool,
}

/// What was added to a thread's times since the first look, without nested polls.
#[derive(Clone, Copy, Debug)]
struct Since {
    run: Bounds,
    wait: Bounds,
    waits: u64,
    unaccounted: Bounds,
    /// Time waited for a processor that is added up now, and began before the first look.
    begun_before: Duration,
    /// Time waited for a processor that is added up now, in all of the poll.
    waited: Duration,
}

impl Account {
    /// Begins with a look at a poll that is so old. `earlier` are the thread's times before the poll,
    /// `nested` what was polled inside of it so far.
    pub(crate) fn open(
        age: Duration,
        earlier: Option<Earlier>,
        nested: Duration,
        times: Times,
        is_blocked: bool,
    ) -> Self {
        let first = First { earlier, nested, times, age, is_blocked };
        let ongoing = is_blocked.then_some(Duration::ZERO);
        Self { first, seen_blocked: Duration::ZERO, was_ever_blocked: is_blocked, ongoing }
    }

    /// A further look at a poll that lasts; `nested` is what was polled inside of it since the first
    /// one.
    ///
    /// The kernel adds a wait for a processor up when it is over. What it has not added up yet is
    /// that, where the thread gave its processor away nowhere, and the time that it was blocked,
    /// where it is blocked now. In between either may be the case.
    pub(crate) fn look(
        &mut self,
        age: Duration,
        times: Times,
        nested: &Nested,
        is_blocked: bool,
    ) -> Spent {
        let since = self.first.since(age, times, nested);
        let Since { run, wait, waits, unaccounted, .. } = since;
        let blocked = if is_blocked {
            self.was_ever_blocked = true;
            self.seen_blocked = unaccounted.least;
            unaccounted
        } else if waits == 0 && !self.was_ever_blocked && nested.is_none() {
            Bounds::default()
        } else {
            Bounds { least: self.seen_blocked.min(unaccounted.least), most: unaccounted.most }
        };
        let queued = Bounds {
            least: wait.least + unaccounted.least.saturating_sub(blocked.most),
            most: wait.most + unaccounted.most.saturating_sub(blocked.least),
        };
        if is_blocked || !run.least.is_zero() {
            // It has run since, so that such a wait is over.
            self.ongoing.get_or_insert(wait.most + since.begun_before);
        }
        let ongoing = self.ongoing.unwrap_or(self.first.age);
        let has_waited = self.was_ever_blocked || (waits > 0 && nested.is_none());
        (Spent { run, queued, blocked } + self.first.before(&since, ongoing, has_waited))
            .queued_for(since.waited)
    }

    /// The end of a poll: the thread runs, so every wait is over and added up.
    ///
    /// Its thread was `asked` so often for its stack. Each time it may have waited once for the map
    /// of the memory, which is no doing of the handler's.
    pub(crate) fn close(
        &self,
        length: Duration,
        times: Times,
        nested: &Nested,
        asked: u32,
    ) -> Spent {
        let since = self.first.since(length, times, nested);
        let Since { run, wait, waits, unaccounted, .. } = since;
        // Of the waits of nested polls it is not known whose they are.
        let has_waited = nested.is_none() && waits > u64::from(asked) || self.was_ever_blocked;
        let none = Bounds::default();
        let (blocked, nowhere) = if has_waited {
            (unaccounted, none)
        } else if nested.is_none() {
            (none, unaccounted)
        } else {
            let may_be = Bounds { least: Duration::ZERO, most: unaccounted.most };
            (may_be, may_be)
        };
        let spent = Spent { run, queued: wait + nowhere, blocked };
        let ongoing = self.ongoing.unwrap_or(since.wait.most + since.begun_before);
        (spent + self.first.before(&since, ongoing, has_waited)).queued_for(since.waited)
    }
}

impl First {
    /// What was added by an age.
    fn since(&self, age: Duration, times: Times, nested: &Nested) -> Since {
        let Times { run, wait, waits } = times.since(self.times);
        let Spent { run: inner_run, queued: inner_wait, .. } = nested.spent;
        let unknown = nested.unknown();
        let time = age.saturating_sub(self.age);
        let run = Bounds {
            least: run.saturating_sub(inner_run.most + unknown).min(time),
            most: run.saturating_sub(inner_run.least).min(time),
        };
        let whole = Bounds {
            least: wait.saturating_sub(inner_wait.most + unknown),
            most: wait.saturating_sub(inner_wait.least),
        };
        // A wait that was going on at the first look is added up whole, once it is over.
        let ongoing = if self.is_blocked { Duration::ZERO } else { self.age };
        let wait = Bounds {
            least: whole.least.saturating_sub(ongoing).min(time.saturating_sub(run.most)),
            most: whole.most.min(time.saturating_sub(run.least)),
        };
        let unaccounted = Bounds {
            least: time.saturating_sub(run.most + wait.most),
            most: time.saturating_sub(run.least + wait.least),
        };
        let begun_before = whole.least.saturating_sub(wait.most);
        let waited = whole.least.min(age);
        Since { run, wait, waits, unaccounted, begun_before, waited }
    }

    /// Of the time before this look, by what came `since`: `ongoing` is the longest that a wait for a
    /// processor was going on then, `has_waited` says whether the poll was seen to wait for
    /// something else.
    fn before(&self, since: &Since, ongoing: Duration, has_waited: bool) -> Spent {
        let Some(earlier) = self.earlier else { return Spent::unknown(self.age) };
        let ongoing = ongoing.max(since.begun_before);
        earlier.until(self, Bounds { least: since.begun_before, most: ongoing }, has_waited)
    }
}

impl Earlier {
    /// How a poll spent its time up to a look, at which a wait for a processor was going on for so
    /// long that is not in the thread's times.
    ///
    /// What was added to the thread's times by then may belong to what it did between these times
    /// and the poll, or to nested polls. What is added up nowhere, the poll was blocked if it
    /// `has_waited` at all.
    fn until(&self, look: &First, ongoing: Bounds, has_waited: bool) -> Spent {
        let Times { run, wait, waits } = look.times.since(self.times);
        let (age, other) = (look.age, self.gap + look.nested);
        let within = |time: Duration| Bounds {
            least: time.saturating_sub(other).min(age),
            most: time.min(age),
        };
        let mut run = within(run);
        // A wait that was going on at the earlier moment is added up whole afterwards, so that the
        // sum says nothing of how long the poll waited at least.
        let mut queued = Bounds {
            least: ongoing.least.min(age),
            most: (wait.min(age) + ongoing.most).min(age.saturating_sub(run.least)),
        };
        run.most = run.most.min(age.saturating_sub(queued.least));
        if !look.is_blocked && waits == 0 {
            // It was never blocked: what passed nowhere, it waited for a processor.
            run.least = run.least.max(age.saturating_sub(queued.most).min(run.most));
            queued.least = queued.least.max(age.saturating_sub(run.most));
            queued.most = age.saturating_sub(run.least);
            return Spent { run, queued, blocked: Bounds::default() };
        }
        let least =
            if has_waited { age.saturating_sub(run.most + queued.most) } else { Duration::ZERO };
        let blocked = Bounds { least, most: age.saturating_sub(run.least + queued.least) };
        Spent { run, queued, blocked }
    }
}

impl Nested {
    /// A nested poll has ended whose times are known.
    pub(crate) fn ended(&mut self, length: Duration, spent: Spent) {
        self.known += length;
        self.spent = self.spent + spent;
    }

    /// The same with the length of all nested polls so far.
    pub(crate) fn of_length(self, length: Duration) -> Self {
        Self { length, ..self }
    }

    /// Time in nested polls of which nothing is known.
    fn unknown(&self) -> Duration {
        self.length.saturating_sub(self.known)
    }

    fn is_none(&self) -> bool {
        self.length.is_zero()
    }
}

impl Spent {
    /// Nothing is known.
    fn unknown(length: Duration) -> Self {
        let any = Bounds { least: Duration::ZERO, most: length };
        Self { run: any, queued: any, blocked: any }
    }

    /// With a wait for a processor of at least so long.
    fn queued_for(mut self, time: Duration) -> Self {
        self.queued.least = self.queued.least.max(time);
        self.queued.most = self.queued.most.max(self.queued.least);
        self
    }

    /// A poll of this length that was never looked at, by the times of its thread before it and at
    /// its end.
    pub(crate) fn unseen(
        length: Duration,
        earlier: Option<Earlier>,
        nested: Duration,
        times: Times,
    ) -> Self {
        let Some(earlier) = earlier else { return Self::unknown(length) };
        let end = First { earlier: None, nested, times, age: length, is_blocked: false };
        earlier.until(&end, Bounds::default(), false)
    }

    /// The class of a poll of this length.
    pub(crate) fn class(&self, length: Duration, threshold: Duration) -> Class {
        let Self { run, queued, blocked } = self;
        let own = length.saturating_sub(queued.least).min(run.most + blocked.most);
        if own < threshold {
            Class::Preempted
        } else if run.least + blocked.least < threshold {
            // Less than that is accounted for.
            Class::Unknown
        } else if run.is_rather_than(blocked) {
            Class::Cpu
        } else if blocked.is_rather_than(run) {
            Class::Blocked
        } else {
            Class::Unknown
        }
    }
}

impl Bounds {
    #[cfg(test)]
    fn exactly(time: Duration) -> Self {
        Self { least: time, most: time }
    }

    /// Returns whether it is the greater one, or so probably, and at worst not much smaller.
    fn is_rather_than(&self, other: &Self) -> bool {
        self.least + self.most >= other.least + other.most && self.least * 2 >= other.most
    }
}

impl Add for Bounds {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { least: self.least + other.least, most: self.most + other.most }
    }
}

impl Add for Spent {
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
mod tests;
