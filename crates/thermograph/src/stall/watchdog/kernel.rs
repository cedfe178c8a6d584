//! What the kernel says of a thread, and the thread's stack.
//!
//! A thread that waits is never signalled: its stack is copied where it stands. One that runs is
//! asked by a perf event, or by a timer on its own CPU clock, whose signal interrupts no system call.

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use thermograph_sampler::{
    Activity, Moment, NotAsked, NotCopied, Reason, Seen, Session, Shot, Thread, Times, Unwinder,
    be_prompt, monotonic, time_of_page_faults,
};

use super::{
    locks::Locks,
    stacks::{Run, Wait},
    watched::Watched,
};
use crate::{
    class::{Class, NoStack},
    config::Stacks,
    handlers::{Ended, PollId},
    log,
};

/// What can be asked of the kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    stacks: Stacks,
    /// `None` if threads that run are not asked for their stacks.
    pub(super) session: Option<Session>,
    /// Made when the first stack is taken.
    unwinder: Option<Unwinder>,
    pub(super) locks: Locks,
    /// Stacks of polls that have ended since they were asked for them.
    uncertain: Vec<Shot>,
}

/// How long a stall is not shown while its stack may still come.
const PATIENCE: Duration = Duration::from_millis(5);
/// Time between two looks at a stall whose stack may come any moment.
const SOON: Duration = Duration::from_micros(200);
/// Time between two looks at a stall of which everything is known, at least.
const LATER: Duration = Duration::from_millis(5);
/// Processor time in which a thread in user mode answers many times over: one that has not is in a
/// system call.
const UNANSWERED: Duration = Duration::from_millis(1);
/// Time between two stacks of a poll that goes on running.
const AGAIN: Duration = Duration::from_secs(1);
/// Further copies of a stack that are tried at once where the thread ran meanwhile.
const COPIES: u32 = 4;
/// Stacks of one poll that are asked for within its first second: it may run on after the first only
/// waited for a processor.
const TRIES: u32 = 2;

impl Kernel {
    pub(super) fn new(stacks: Stacks) -> Self {
        let opened = (stacks != Stacks::Off).then(|| Session::open(Reason::Stall));
        let session = opened.and_then(|opened| {
            let warn = |error: &_| tracing::warn!(%error, "stalls that compute have no stacks");
            opened.inspect_err(warn).ok()
        });
        Self { stacks, session, unwinder: None, locks: Locks::default(), uncertain: Vec::new() }
    }

    /// Begins on the watchdog's own thread, which is worth little when it comes late.
    pub(super) fn start(&mut self) {
        be_prompt();
        if let Some(session) = self.session.as_mut().filter(|_| self.stacks == Stacks::Auto) {
            session.use_perf_events();
        }
    }

    /// Processor time of this thread.
    pub(super) fn own_time() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
    }

    pub(super) fn times(thread: i32) -> Option<Times> {
        Thread::new(thread).times()
    }

    pub(super) fn activity(thread: i32) -> Option<Activity> {
        Thread::new(thread).activity()
    }

    pub(super) fn page_faults(thread: i32) -> Option<u64> {
        Thread::new(thread).page_faults()
    }

    pub(super) fn time_of_page_faults(count: u64) -> Option<Duration> {
        time_of_page_faults(count)
    }

    pub(super) fn takes_stacks(&self) -> bool {
        self.stacks != Stacks::Off
    }

    /// Takes the stack of a poll that lasts, or asks for it, unless that was done: how long until
    /// the next look at it. `since` is the time since the look before.
    pub(super) fn sample(
        &mut self,
        watched: &mut Watched,
        since: Duration,
        threshold: Duration,
    ) -> Duration {
        let age = watched.age();
        // Ever less often: a poll that is stuck for minutes is not looked at a thousand times a
        // second.
        let later = (age / 4).max(LATER).min(Duration::from_millis(250));
        if !self.takes_stacks() {
            return later;
        }
        let is_tried_again = match watched.activity {
            Some(Activity::Waiting(_)) => {
                let is_tried_again = self.copy(watched, since, threshold);
                if age >= threshold {
                    self.search_holder(watched);
                }
                is_tried_again
            }
            _ => self.ask(watched, threshold),
        };
        // A disk wakes its writer many times in one call: a copy succeeds between two of these.
        if is_tried_again && age < threshold * 4 {
            SOON
        } else if watched.wants_syscall(threshold) {
            SOON * 5
        } else {
            later
        }
    }

    /// Copies the stack of a thread that waits: whether to try again soon.
    fn copy(&mut self, watched: &mut Watched, since: Duration, threshold: Duration) -> bool {
        let thread = Thread::new(watched.polling.thread);
        if watched.is_asked {
            // It was about to wait when it was asked.
            self.withdraw(watched);
        }
        if watched.stacks.waits_on(thread.slices(), since) {
            return false;
        }
        let age = watched.age();
        let Some(unwinder) = self.unwinder() else { return false };
        let mut taken = unwinder.waiting(thread);
        for _ in 0..COPIES {
            if !matches!(taken, Err(NotCopied::Running | NotCopied::Moved)) {
                break;
            }
            taken = unwinder.waiting(thread);
        }
        match taken {
            Ok(taken) if taken.seen.start() == watched.start() => {
                watched.request_id = taken.request_id.or_else(|| watched.request_id.take());
                watched.stacks.waited(Wait {
                    stack: Arc::new(taken.stack),
                    syscall: taken.syscall,
                    slices: taken.slices,
                    time: since,
                    after: age.saturating_sub(threshold),
                    futex: taken.futex,
                    lock: None,
                    searched: Duration::ZERO,
                });
                false
            }
            // The poll is over, or the thread is.
            Ok(_) | Err(NotCopied::Unknown) => false,
            Err(NotCopied::Running | NotCopied::Moved) => watched.stacks.is_empty(),
        }
    }

    /// Asks a thread that runs for its stack: whether it may come soon.
    fn ask(&mut self, watched: &mut Watched, threshold: Duration) -> bool {
        watched.stacks.runs();
        let Some(session) = &self.session else { return false };
        let age = watched.age();
        if watched.is_asked {
            let ran = watched.asked_at.map(|asked_at| watched.run.saturating_sub(asked_at));
            if ran.is_some_and(|ran| ran >= UNANSWERED) {
                watched.asked_at = None;
                session.ask_in_call(watched.polling.thread);
            }
            return true;
        }
        let is_wanted = match watched.stacks.run() {
            None => watched.asked < TRIES || age >= AGAIN,
            Some(run) if age >= run.age + AGAIN => true,
            // The thread only waited for a processor then: that stack does not show how the handler
            // came to be at fault.
            Some(run) => {
                !run.is_telling
                    && watched.asked < TRIES
                    && watched.class(age, threshold) != Class::Preempted
            }
        };
        // The C library blocks signals for a moment when it starts a thread.
        let may_be = watched.not_asked.is_none_or(|why| why == NoStack::SignalBlocked);
        if !is_wanted || !may_be {
            return false;
        }
        match session.ask(watched.polling.thread) {
            Ok(()) => {
                watched.asked += 1;
                watched.is_asked = true;
                watched.asked_at = Some(watched.run);
                watched.not_asked = None;
            }
            Err(not_asked) => watched.not_asked = NoStack::of(not_asked),
        }
        watched.is_asked
    }

    /// Withdraws the request for the stack of a poll, which has ended or waits.
    pub(super) fn withdraw(&self, watched: &mut Watched) {
        watched.is_asked = false;
        if let Some(session) = &self.session {
            session.withdraw(watched.polling.thread);
        }
    }

    /// Whether a stall should not be shown yet.
    pub(super) fn is_stack_awaited(&self, watched: &Watched, overdue: Duration) -> bool {
        let may_come = watched.is_asked || matches!(watched.activity, Some(Activity::Waiting(_)));
        self.takes_stacks() && may_come && watched.stacks.is_empty() && overdue < PATIENCE
    }

    /// Why a poll that has ended has no stack.
    pub(super) fn why_no_stack(&self, watched: &Watched) -> NoStack {
        match watched.not_asked {
            _ if !self.takes_stacks() => NoStack::Off,
            Some(not_asked) => not_asked,
            None if watched.asked == 0 => NoStack::Ended,
            None => NoStack::Unanswered,
        }
    }

    /// Takes the stacks that have come.
    pub(super) fn fetch_stacks(
        &mut self,
        watched: &mut HashMap<PollId, Watched>,
        threshold: Duration,
    ) {
        while let Some(shot) = self.session.as_ref().and_then(Session::next) {
            if shot.is_certain() {
                self.assign(&shot, Some(shot.seen()), watched, threshold);
            } else {
                self.uncertain.push(shot);
            }
        }
    }

    /// Assigns the stacks that came with the last fetch, or before, to the polls that have ended since.
    pub(super) fn settle(
        &mut self,
        ended: &[Ended],
        watched: &mut HashMap<PollId, Watched>,
        threshold: Duration,
    ) {
        for shot in mem::take(&mut self.uncertain) {
            let (thread, seen) = (shot.ticket().thread(), shot.seen());
            let since_taken = monotonic().saturating_sub(shot.at());
            let now = Moment::now();
            // The end of a poll below the threshold is not recorded.
            let is_of_poll = ended.iter().any(|ended| {
                ended.thread == thread
                    && seen.start() == Some(ended.poll.start())
                    && now.since(ended.end) < since_taken
            });
            self.assign(&shot, is_of_poll.then_some(seen), watched, threshold);
        }
    }

    /// Gives a stack to the poll in which it was taken, if that is known, and offers it as that of a
    /// lock's holder.
    fn assign(
        &mut self,
        shot: &Shot,
        seen: Option<Seen>,
        watched: &mut HashMap<PollId, Watched>,
        threshold: Duration,
    ) {
        let thread = shot.ticket().thread();
        // A stack that was taken after its poll had ended belongs to no poll.
        let poll = watched.values_mut().find(|watched| {
            watched.polling.thread == thread
                && seen.is_some_and(|seen| watched.start() == seen.start())
        });
        if let Some(poll) = poll {
            self.take(shot, poll, threshold);
        }
        if let Some(unwinder) = self.unwinder() {
            let seen = seen.unwrap_or(Seen::NOTHING);
            Self::offer(unwinder, (shot, seen), watched.iter_mut());
        }
    }

    fn take(&mut self, shot: &Shot, watched: &mut Watched, threshold: Duration) {
        self.withdraw(watched);
        let Some(unwinder) = self.unwinder() else { return };
        let age = watched.polling.age(Moment::now());
        let since_taken = Duration::from_nanos(monotonic().saturating_sub(shot.at()));
        let age_then = age.saturating_sub(since_taken);
        watched.request_id = shot.request_id().or_else(|| watched.request_id.take());
        watched.stacks.ran(Run {
            stack: Arc::new(unwinder.unwind(shot)),
            after: age_then.saturating_sub(threshold),
            is_telling: watched.class(age_then, threshold) != Class::Preempted,
            age: age_then,
        });
    }

    pub(super) fn unwinder(&mut self) -> Option<&mut Unwinder> {
        if self.unwinder.is_none() {
            match Unwinder::new() {
                Ok(new) => self.unwinder = Some(new),
                Err(error) => {
                    log::submit(move || {
                        tracing::warn!(%error, "stalls have no stacks: cannot read /proc/self/maps");
                    });
                    self.stacks = Stacks::Off;
                }
            }
        }
        self.unwinder.as_mut()
    }
}

impl NoStack {
    /// `None` for a thread that has ended: so has its poll.
    fn of(not_asked: NotAsked) -> Option<Self> {
        match not_asked {
            NotAsked::Replaced => Some(Self::SignalReplaced),
            NotAsked::Blocked => Some(Self::SignalBlocked),
            NotAsked::NoTimer => Some(Self::NoTimer),
            NotAsked::Ended => None,
        }
    }
}
