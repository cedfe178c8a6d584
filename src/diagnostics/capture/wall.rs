//! Wall-clock time by stack, of threads while they poll: on a processor and off it.
//!
//! Once a period every thread that runs is asked for its stack, and every one that waits inside of
//! a poll. A thread that has not run since it was last asked is not disturbed again: it stands
//! where it stood.

use std::{collections::HashMap, time::Duration};

use super::{
    CaptureError, Turns, Window,
    tally::{Seen, Tally},
    turn::{Pace, Turn},
};
use crate::diagnostics::{
    profile::{Profile, ValueType},
    sampler::{Reason, Session, SessionError, Thread, Unwinder},
    watch::{Activity, ByPlace, Polling, Slot, handler_at},
};

const ON_CPU: &str = "on-cpu";
const OFF_CPU: &str = "off-cpu";

/// The wall-clock sampler of the process.
#[derive(Debug, Default)]
pub(crate) struct Wall {
    turns: Turns,
}

impl Wall {
    pub(crate) async fn capture(
        &self,
        frequency: u32,
        window: Window,
    ) -> Result<Profile, CaptureError> {
        let turn = self.turns.take(window).await?;
        let session = Session::open(Reason::Wall)?;
        turn.run(move |turn| sample(&session, frequency, turn)).await
    }
}

fn sample(session: &Session, frequency: u32, turn: &Turn) -> Result<Profile, CaptureError> {
    let period = Duration::from_secs(1) / frequency;
    let mut look = Look {
        session,
        unwinder: Unwinder::new().map_err(SessionError::Signal)?,
        tally: Tally::new(period),
        asked: HashMap::new(),
        stands: HashMap::new(),
    };
    let pace = Pace::of(turn);
    let mut ticks = 0;
    while let Some(passed) = pace.wait_until(period * (ticks + 1))? {
        // Late, it stands for all the periods that have passed.
        let now = u32::try_from(passed.as_nanos() / period.as_nanos()).unwrap_or(u32::MAX);
        look.fetch();
        look.at_threads(u64::from(now.saturating_sub(ticks)));
        ticks = now;
    }
    look.fetch();
    let wall = ValueType { kind: "wall", unit: "nanoseconds" };
    let dropped = session.dropped() + look.unanswered();
    Ok(look.tally.profile(&look.unwinder, wall, dropped))
}

/// What is known of the threads from one look to the next.
struct Look<'a> {
    session: &'a Session,
    unwinder: Unwinder,
    tally: Tally,
    /// Threads whose stack is on its way.
    asked: HashMap<Thread, Asked>,
    /// Threads that were asked while they waited, and what came of it.
    stands: HashMap<Thread, Stands>,
}

/// A stack that was asked for.
struct Asked {
    periods: u64,
    activity: Activity,
}

/// A thread that waits.
struct Stands {
    slices: u64,
    seen: Seen,
}

impl Look<'_> {
    fn at_threads(&mut self, periods: u64) {
        for slot in Slot::used() {
            let Some(thread) = slot.thread().map(Thread::new) else { continue };
            let polling = slot.polling();
            // Where the kernel does not say, who polls is taken to run.
            match thread.activity().unwrap_or(Activity::Running) {
                // A thread of the blocking pool, which only has a name.
                Activity::Running if polling.is_none() && slot.handler().is_some() => {}
                // Between two polls it may be in one when the signal comes: the handler will say.
                Activity::Running => self.ask(thread, Activity::Running, periods),
                // Parked threads are left alone.
                waiting @ Activity::Waiting(_) if let Some(polling) = polling => {
                    self.waits(thread, &polling, waiting, periods);
                }
                Activity::Waiting(_) => {}
            }
        }
    }

    fn waits(&mut self, thread: Thread, polling: &Polling, waiting: Activity, periods: u64) {
        let stands = self.stands.get(&thread).filter(|stands| {
            stands.seen.handler == Some(ByPlace(polling.handler))
                && thread.slices() == Some(stands.slices)
        });
        match stands {
            Some(stands) => self.tally.add(stands.seen.clone(), periods),
            None => self.ask(thread, waiting, periods),
        }
    }

    fn ask(&mut self, thread: Thread, activity: Activity, periods: u64) {
        // One that was asked and has not come is still on its way: the thread is not scheduled.
        let before = self.asked.remove(&thread);
        let periods = periods + before.as_ref().map_or(0, |before| before.periods);
        if before.is_some() || self.session.ask(thread.number()).is_ok() {
            self.asked.insert(thread, Asked { periods, activity });
        }
    }

    /// Periods of threads that wait inside of a poll and block the signal.
    fn unanswered(&self) -> u64 {
        let waiting = |asked: &&Asked| asked.activity != Activity::Running;
        self.asked.values().filter(waiting).map(|asked| asked.periods).sum()
    }

    fn fetch(&mut self) {
        while let Some(shot) = self.session.next() {
            let thread = Thread::new(shot.ticket().thread());
            let Some(Asked { periods, activity }) = self.asked.remove(&thread) else { continue };
            if shot.seen().start == 0 {
                // It was between polls.
                continue;
            }
            let (state, syscall) = match activity {
                Activity::Running => (ON_CPU, None),
                Activity::Waiting(syscall) => (OFF_CPU, syscall),
            };
            let seen = Seen {
                stack: self.unwinder.unwind(&shot),
                thread,
                handler: handler_at(shot.seen().handler).map(ByPlace),
                state: Some(state),
                syscall,
            };
            if state == OFF_CPU
                && let Some(slices) = thread.slices()
            {
                self.stands.insert(thread, Stands { slices, seen: seen.clone() });
            }
            self.tally.add(seen, periods);
        }
    }
}
