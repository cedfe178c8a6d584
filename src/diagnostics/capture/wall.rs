//! Wall-clock time by stack, of threads while they poll: on a processor and off it.
//!
//! Once a period the stack of every thread that waits inside of a poll is copied, which the thread
//! does not notice, and every one that runs is asked for its stack by a timer on its CPU clock. A
//! thread that has not run since its stack was copied stands where it stood.

use std::{collections::HashMap, time::Duration};

use super::{
    CaptureError, Turns, Window,
    tally::{Seen, Tally},
    turn::{Pace, Turn},
};
use crate::diagnostics::{
    profile::{Profile, ValueType},
    sampler::{NotCopied, Reason, Session, SessionError, Thread, Unwinder, WaitingStack},
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
        missed: 0,
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
    let dropped = session.dropped() + look.missed;
    Ok(look.tally.profile(&look.unwinder, wall, dropped))
}

/// What is known of the threads from one look to the next.
struct Look<'a> {
    session: &'a Session,
    unwinder: Unwinder,
    tally: Tally,
    /// Periods of threads that ran and whose stack has not come yet.
    asked: HashMap<Thread, u64>,
    /// Threads that waited when their stack was copied.
    stands: HashMap<Thread, Stands>,
    /// Periods of threads inside of a poll whose stack could not be taken.
    missed: u64,
}

/// A thread that waits.
struct Stands {
    slices: u64,
    /// When the poll began.
    start: u64,
    seen: Seen,
}

impl Look<'_> {
    fn at_threads(&mut self, periods: u64) {
        for slot in Slot::used() {
            let Some(thread) = slot.thread().map(Thread::new) else { continue };
            let polling = slot.polling();
            // Where the kernel does not say, a thread in a poll is taken to run.
            match thread.activity().unwrap_or(Activity::Running) {
                // A thread of the blocking pool, which only has a name.
                Activity::Running if polling.is_none() && slot.handler().is_some() => {}
                // Between two polls it may be in one when the signal comes: the handler will say.
                Activity::Running => self.ask(thread, polling.is_some(), periods),
                // Parked threads are left alone.
                Activity::Waiting(_) if let Some(polling) = polling => {
                    self.waits(thread, &polling, periods);
                }
                Activity::Waiting(_) => {}
            }
        }
    }

    fn waits(&mut self, thread: Thread, polling: &Polling, periods: u64) {
        let stands = self.stands.get(&thread).filter(|stands| {
            stands.start == polling.start.raw() && thread.slices() == Some(stands.slices)
        });
        if let Some(stands) = stands {
            return self.tally.add(stands.seen.clone(), periods);
        }
        match self.unwinder.waiting(thread) {
            // Outside of a poll it waits for work.
            Ok(taken) if taken.seen.start == 0 => {}
            Ok(WaitingStack { stack, syscall, slices, seen, .. }) => {
                let start = seen.start;
                let handler = handler_at(seen.handler).map(ByPlace);
                let seen = Seen { stack, thread, handler, state: Some(OFF_CPU), syscall };
                self.tally.add(seen.clone(), periods);
                self.stands.insert(thread, Stands { slices, start, seen });
            }
            // Awake again, it runs.
            Err(NotCopied::Running | NotCopied::Moved) => self.ask(thread, true, periods),
            Err(NotCopied::Unknown) => self.missed += periods,
        }
    }

    fn ask(&mut self, thread: Thread, is_polling: bool, periods: u64) {
        // A stack that has not come yet still may: the thread is not scheduled.
        let asked = self.asked.get_mut(&thread);
        if let Some(asked) = asked {
            *asked += periods;
        } else if self.session.ask(thread.number()).is_ok() {
            self.asked.insert(thread, periods);
        } else if is_polling {
            self.missed += periods;
        }
    }

    fn fetch(&mut self) {
        while let Some(shot) = self.session.next() {
            let thread = Thread::new(shot.ticket().thread());
            let Some(periods) = self.asked.remove(&thread) else { continue };
            if shot.seen().start == 0 {
                // It was between polls.
                continue;
            }
            let seen = Seen {
                stack: self.unwinder.unwind(&shot),
                thread,
                handler: handler_at(shot.seen().handler).map(ByPlace),
                state: Some(ON_CPU),
                syscall: None,
            };
            self.tally.add(seen, periods);
        }
    }
}
