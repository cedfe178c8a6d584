//! What the kernel says of a thread, and the thread's stack.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::watched::{Taken, Watched};
use crate::diagnostics::{
    sampler::{Reason, Session, Shot, Thread, Unwinder, be_prompt, monotonic},
    stall::Class,
    watch::{Activity, Moment, PollId, Times},
};

/// What can be asked of the kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// None where no stacks are taken.
    session: Option<Session>,
    /// Made when the first stack comes.
    unwinder: Option<Unwinder>,
}

/// How long a stall is not shown, since its stack is on its way.
const PATIENCE: Duration = Duration::from_millis(3);
/// Time between two looks at a stall whose stack is on its way.
const SOON: Duration = Duration::from_micros(100);
/// Time between two looks at a stall of which everything is known, at least.
const LATER: Duration = Duration::from_millis(5);

impl Kernel {
    pub(super) fn new(signals: bool) -> Self {
        let opened = signals.then(|| Session::open(Reason::Stall));
        let session = opened.and_then(|opened| {
            opened.inspect_err(|error| tracing::warn!(%error, "stalls have no stacks")).ok()
        });
        Self { session, unwinder: None }
    }

    /// The watchdog is worth little when it comes late.
    pub(super) fn be_prompt() {
        be_prompt();
    }

    pub(super) fn times(thread: i32) -> Option<Times> {
        Thread::new(thread).times()
    }

    pub(super) fn activity(thread: i32) -> Option<Activity> {
        Thread::new(thread).activity()
    }

    pub(super) fn takes_stacks(&self) -> bool {
        self.session.is_some()
    }

    /// Asks for the stack of a poll that is too old, if that was not done: how long until the next
    /// look at it.
    ///
    /// Once as a rule. Where the thread was only waiting for a processor then, and the handler
    /// turns out to be at fault later, once more: the first stack does not show how.
    pub(super) fn ask_for_stack(&self, watched: &mut Watched, threshold: Duration) -> Duration {
        let age = watched.age();
        // Ever less often: whoever is stuck for minutes is not looked at a thousand times a second.
        let later = (age / 4).max(LATER).min(Duration::from_millis(250));
        let Some(session) = &self.session else { return later };
        let is_telling = watched.class(age, threshold) != Class::Preempted;
        let is_stale = watched.stack.as_ref().is_some_and(|taken| !taken.is_telling);
        let is_wanted = watched.asked == 0 || (watched.asked == 1 && is_stale && is_telling);
        if is_wanted && session.ask(watched.polling.thread).is_ok() {
            watched.asked += 1;
            return SOON;
        }
        if watched.stack.is_none() && age < threshold + LATER {
            SOON * 2
        } else if watched.wants_syscall(threshold) {
            SOON * 10
        } else {
            later
        }
    }

    /// Whether a stall should not be shown yet.
    pub(super) fn is_stack_awaited(&self, watched: &Watched, overdue: Duration) -> bool {
        self.session.is_some() && watched.stack.is_none() && overdue < PATIENCE
    }

    /// Takes the stacks that have come.
    pub(super) fn fetch_stacks(
        &mut self,
        watched: &mut HashMap<PollId, Watched>,
        threshold: Duration,
    ) {
        while let Some(shot) = self.session.as_ref().and_then(Session::next) {
            let thread = shot.ticket().thread();
            // One of a poll that had ended before the signal came is nobody's.
            let poll = watched.values_mut().find(|watched| {
                let polling = watched.polling;
                polling.thread == thread && polling.start.raw() == shot.seen().start
            });
            if let Some(poll) = poll {
                self.take(&shot, poll, threshold);
            }
        }
    }

    fn take(&mut self, shot: &Shot, watched: &mut Watched, threshold: Duration) {
        let unwinder = match &mut self.unwinder {
            Some(unwinder) => unwinder,
            none => match Unwinder::new() {
                Ok(new) => none.insert(new),
                Err(error) => {
                    tracing::warn!(%error, "a stall has no stack: /proc/self/maps is not readable");
                    return;
                }
            },
        };
        let age = watched.polling.age(Moment::now());
        let since_taken = Duration::from_nanos(monotonic().saturating_sub(shot.at()));
        let age_then = age.saturating_sub(since_taken);
        watched.request_id = shot.request_id();
        watched.stack = Some(Taken {
            stack: Arc::new(unwinder.unwind(shot)),
            after: age_then.saturating_sub(threshold),
            is_telling: watched.class(age_then, threshold) != Class::Preempted,
        });
    }
}
