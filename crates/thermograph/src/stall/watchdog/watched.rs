//! One poll that may be a stall, and what the kernel says of its thread.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use thermograph_sampler::{Activity, Moment, Times, thread_name};

use super::{
    super::{
        Store,
        lock::RawLock,
        namer::LONG,
        record::{Facts, RawStack, Record},
        verdict::{Account, Earlier, Nested, Spent},
    },
    kernel::Kernel,
    stacks::Stacks,
};
use crate::{
    class::{Class, NoStack},
    handlers::{PollId, Polling},
};

/// A poll that has lasted long enough to be looked at.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) polling: Polling,
    seen: Moment,
    account: Option<Account>,
    /// When the account began.
    opened: Moment,
    spent: Option<Spent>,
    /// What was polled inside of it by the first look.
    nested_before: Duration,
    /// What was polled inside of it since.
    nested: Nested,
    page_faults: PageFaults,
    /// The thread's processor time at the last look.
    pub(super) run: Duration,
    /// The system call that it waited in before it was too long.
    early_syscall: Option<&'static str>,
    /// The first that it was seen waiting in afterwards: when its stack was taken, as a rule.
    syscall: Option<&'static str>,
    pub(super) request_id: Option<String>,
    pub(super) stacks: Stacks,
    /// What the thread did at the last look.
    pub(super) activity: Option<Activity>,
    /// How often its thread was asked for its stack by a signal.
    pub(super) asked: u32,
    /// Whether a stack that was asked for has not come yet.
    pub(super) is_asked: bool,
    /// The thread's processor time when it was asked; `None` if it was also asked in its system call.
    pub(super) asked_at: Option<Duration>,
    /// Why its thread was not asked.
    pub(super) not_asked: Option<NoStack>,
    /// The stack that was last sent to be named.
    sent: Option<Arc<RawStack>>,
    /// The lock that was last sent to be named.
    sent_lock: Option<Arc<RawLock>>,
    was_long: bool,
    has_ended: bool,
    pub(super) record: Option<Arc<Record>>,
}

/// Page faults of a thread, and its processor time.
#[derive(Debug, Default)]
struct PageFaults {
    /// Up to the first look.
    first: Option<(u64, Duration)>,
    /// From then to the last one.
    count: u64,
    run: Duration,
}

impl Watched {
    pub(super) fn new(polling: Polling, seen: Moment) -> Self {
        Self {
            polling,
            seen,
            account: None,
            opened: seen,
            spent: None,
            nested_before: Duration::ZERO,
            nested: Nested::default(),
            page_faults: PageFaults::default(),
            run: Duration::ZERO,
            early_syscall: None,
            syscall: None,
            request_id: None,
            stacks: Stacks::default(),
            activity: None,
            asked: 0,
            is_asked: false,
            asked_at: None,
            not_asked: None,
            sent: None,
            sent_lock: None,
            was_long: false,
            has_ended: false,
            record: None,
        }
    }

    /// Asks the kernel what the thread does. `earlier` are its times before the poll, `early` those
    /// that were noted in it before the first look.
    pub(super) fn look(
        &mut self,
        polling: Polling,
        now: Moment,
        (earlier, early): (Option<Earlier>, Option<(Moment, Times)>),
        is_too_long: bool,
    ) {
        let times = Kernel::times(self.polling.thread);
        let activity = Kernel::activity(self.polling.thread);
        // Over meanwhile, what was read is of whatever came next: the thread tells the rest itself.
        let Polling { slot, start, .. } = self.polling;
        if slot.is_of_thread() && Polling::on(slot).is_none_or(|now| now.start != start) {
            return;
        }
        (self.seen, self.polling, self.activity) = (now, polling, activity);
        let Some(times) = times else { return };
        self.run = times.run;
        if let Some(faults) = Kernel::page_faults(self.polling.thread) {
            self.page_faults.look(faults, times.run);
        }
        let age = polling.age(now);
        let is_blocked = matches!(activity, Some(Activity::Waiting(_)));
        if let Some(Activity::Waiting(Some(syscall))) = activity {
            let place = if is_too_long { &mut self.syscall } else { &mut self.early_syscall };
            place.get_or_insert(syscall);
        }
        let nested = polling.nested();
        if self.account.is_none() {
            (self.opened, self.nested_before) = (now, nested);
        }
        let open = || match early {
            // What the thread did then was not looked at: as if it ran.
            Some((at, times)) if nested.is_zero() && now.since(at) > 0 => {
                Account::open(polling.age(at), earlier, nested, times, false)
            }
            _ => Account::open(age, earlier, nested, times, is_blocked),
        };
        let account = self.account.get_or_insert_with(open);
        let since = self.nested.of_length(nested.saturating_sub(self.nested_before));
        self.spent = Some(account.look(age, times, &since, is_blocked));
    }

    /// The poll has ended; `times` are its thread's at the end, `nested` is what was polled inside of
    /// it, and `earlier` are its thread's times before.
    pub(super) fn close(
        &mut self,
        length: Duration,
        times: Option<Times>,
        nested: Duration,
        earlier: Option<Earlier>,
    ) {
        self.has_ended = true;
        let Some(times) = times else { return };
        self.spent = Some(match &self.account {
            Some(account) => {
                let since = self.nested.of_length(nested.saturating_sub(self.nested_before));
                account.close(length, times, &since, self.asked)
            }
            None => Spent::unseen(length, earlier, nested, times),
        });
    }

    /// A poll inside of this one has ended, which was so long: its thread's times are not all this
    /// one's.
    pub(super) fn nested_ended(&mut self, end: Moment, length: Duration, spent: Option<Spent>) {
        let is_since = self.account.is_some() && end.since(self.opened) > 0;
        if let Some(spent) = spent.filter(|_| is_since) {
            self.nested.ended(length, spent);
        }
    }

    /// How its time was spent, as far as it is known.
    pub(super) fn spent(&self) -> Option<Spent> {
        self.spent
    }

    /// It has ended, and nothing more is known than what was seen.
    #[cfg(sampler)]
    pub(super) fn over(&mut self) {
        self.has_ended = true;
    }

    /// Its class, as far as it is known.
    pub(super) fn class(&self, length: Duration, threshold: Duration) -> Class {
        self.spent.map_or(Class::Unknown, |spent| spent.class(length, threshold))
    }

    /// Its record, made if there is none, and brought up to what is known.
    pub(super) fn record(
        &mut self,
        store: &Store,
        length: Duration,
        threshold: Duration,
    ) -> Arc<Record> {
        let mut facts = self.facts(length, threshold);
        let record = self.record.get_or_insert_with(|| {
            let Polling { slot, start, handler, thread, task, .. } = self.polling;
            let name = thread_name(thread).unwrap_or_default();
            let began = SystemTime::now().checked_sub(length).unwrap_or(SystemTime::UNIX_EPOCH);
            let (thread, poll) = ((name, thread), PollId::new(slot, start));
            let id = store.next_id();
            Arc::new(Record::new(id, began, handler, thread, (task, poll), facts.clone()))
        });
        let mut known = record.facts();
        if !facts.ended {
            // A reader may have seen it when it was older than at this look.
            facts.elapsed = facts.elapsed.max(known.elapsed);
        }
        // Names stay, as long as they are of this stack.
        let is_same = known.stack == facts.stack;
        let named = known.named.take().filter(|_| is_same);
        let is_same_lock = same(known.lock.as_ref(), facts.lock.as_ref());
        facts.holder_named = known.holder_named.take().filter(|_| is_same_lock);
        *known = facts;
        if let Some(named) = named {
            known.name(named);
        }
        drop(known);
        Arc::clone(record)
    }

    fn facts(&self, length: Duration, threshold: Duration) -> Facts {
        let class = self.class(length, threshold);
        let spent = self.spent.unwrap_or_default();
        let shown = self.stacks.shown(class, self.has_ended);
        // Of the same moment as the stack, if that has one.
        let syscall = shown.as_ref().and_then(|shown| shown.syscall);
        let seen = || self.syscall.or(self.early_syscall);
        Facts {
            class,
            syscall: syscall
                .or_else(seen)
                .filter(|_| matches!(class, Class::Blocked | Class::Unknown)),
            request_id: self.request_id.clone(),
            elapsed: length,
            ended: self.has_ended,
            run: spent.run.least,
            queued: spent.queued.least,
            captured_after: shown.as_ref().map(|shown| shown.after),
            lock: shown.as_ref().and_then(|shown| shown.lock.clone()),
            holder_named: None,
            stack: shown.map(|shown| shown.stack),
            no_stack: None,
            page_faults: class == Class::Cpu && self.page_faults.take_most_time(),
            in_place: false,
            named: None,
        }
    }

    /// How old the poll was at the last look.
    pub(super) fn age(&self) -> Duration {
        self.polling.age(self.seen)
    }

    /// Whether it waits in a system call that was not seen yet: it does so for short times.
    pub(super) fn wants_syscall(&self, threshold: Duration) -> bool {
        let age = self.age();
        self.syscall.is_none()
            && age < threshold * 10
            && self.class(age, threshold) == Class::Blocked
    }

    /// When the poll began that a stack must be of; none if it is work outside of polls that are known.
    #[cfg(sampler)]
    pub(super) fn start(&self) -> Option<Moment> {
        self.polling.slot.is_of_thread().then_some(self.polling.start)
    }

    /// Returns whether its record has a stack that was not sent to be named yet: its own, or that of a
    /// lock's holder.
    pub(super) fn has_new_stack(&mut self, record: &Record) -> bool {
        let (stack, lock) = {
            let facts = record.facts();
            (facts.stack.clone(), facts.lock.clone())
        };
        let is_new = stack.is_some() && stack != self.sent;
        let is_new_lock = lock.is_some() && !same(lock.as_ref(), self.sent_lock.as_ref());
        (self.sent, self.sent_lock) = (stack.or(self.sent.take()), lock);
        is_new || is_new_lock
    }

    /// Whether it has just become so long that it is warned of before it ends.
    pub(super) fn is_long_now(&mut self, age: Duration) -> bool {
        let is_new = age >= LONG && !self.was_long;
        self.was_long |= is_new;
        is_new
    }

    /// Whether it was looked at, or made, so short a time ago.
    pub(super) fn was_seen_within(&self, time: Duration, now: Moment) -> bool {
        Duration::from_nanos(now.since(self.seen)) < time
    }
}

impl PageFaults {
    /// The thread has had so many, and so much processor time.
    fn look(&mut self, faults: u64, run: Duration) {
        let (faults_before, run_before) = *self.first.get_or_insert((faults, run));
        self.count = faults.saturating_sub(faults_before);
        self.run = run.saturating_sub(run_before);
    }

    /// Returns whether they take at least half of the processor time.
    fn take_most_time(&self) -> bool {
        /// Processor time from which the share of page faults is no chance.
        const LEAST: Duration = Duration::from_millis(1);
        let time = Kernel::time_of_page_faults(self.count);
        self.run >= LEAST && time.is_some_and(|time| time >= self.run / 2)
    }
}

/// Whether both are the very same, or none.
fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}
