//! Wall-clock time by stack, of threads while they poll: on a processor and off it.
//!
//! Once a period the stack of every thread that waits inside of a poll is copied, which the thread
//! does not notice, and every one that runs is asked for its stack by a timer on its CPU clock. A
//! thread that has not run since its stack was copied stands where it stood.

use std::{collections::HashMap, time::Duration};

use thermograph_profile::{Profile, ValueType};
use thermograph_sampler::{
    Activity, Module, Moment, NotCopied, Reason, Session, Slot, Thread, Unwinder, WaitingStack,
    monotonic,
};

use super::{
    CaptureError,
    session::{Readers, Sampler, Shared, nanos, portion},
    tally::Seen,
};
use crate::handlers::{ByPlace, Handler, Polling};

const ON_CPU: &str = "on-cpu";
const OFF_CPU: &str = "off-cpu";

/// `frequency` samples a second of each thread in a poll, for as long as `duration`. Captures that
/// overlap share the samples.
pub(crate) async fn capture(frequency: u32, duration: Duration) -> Result<Profile, CaptureError> {
    static WALL: Shared = Shared::new(
        Reason::Wall,
        "thermo-wall",
        ValueType { kind: "wall", unit: "nanoseconds" },
        |session, unwinder| Box::new(Wall::new(session, unwinder)),
    );
    WALL.read(frequency, duration).await
}

/// What is known of the threads from one look to the next. Times are in nanoseconds.
struct Wall {
    session: Session,
    unwinder: Unwinder,
    period: u64,
    /// Up to when threads were looked at, by the monotonic clock.
    looked: u64,
    /// Time of threads that ran and whose stack has not come yet.
    asked: HashMap<Thread, u64>,
    /// Threads that waited when their stack was copied.
    stands: HashMap<Thread, Stands>,
    /// Times that the stack of a thread inside of a poll could not be taken.
    missed: u64,
}

/// A thread that waits.
struct Stands {
    slices: u64,
    /// When the poll began.
    start: Moment,
    seen: Seen,
}

impl Wall {
    fn new(session: Session, unwinder: Unwinder) -> Self {
        Self {
            session,
            unwinder,
            period: 0,
            looked: monotonic(),
            asked: HashMap::new(),
            stands: HashMap::new(),
            missed: 0,
        }
    }

    fn look(&mut self, time: u64, readers: &mut Readers) {
        for slot in Slot::used() {
            let Some(thread) = slot.thread().map(Thread::new) else { continue };
            let polling = Polling::on(slot);
            // Where the kernel does not say, a thread in a poll is taken to run.
            match thread.activity().unwrap_or(Activity::Running) {
                // A thread of the blocking pool, which only has a name.
                Activity::Running if polling.is_none() && Handler::at_work_on(slot).is_some() => {}
                // Between two polls it may be in one when the signal comes: the handler will say.
                Activity::Running => self.ask(thread, polling.is_some(), time),
                // Parked threads are left alone.
                Activity::Waiting(_) if let Some(polling) = polling => {
                    self.waits(thread, &polling, time, readers);
                }
                Activity::Waiting(_) => {}
            }
        }
    }

    fn waits(&mut self, thread: Thread, polling: &Polling, time: u64, readers: &mut Readers) {
        let stands = self.stands.get(&thread).filter(|stands| {
            stands.start == polling.start && thread.slices() == Some(stands.slices)
        });
        if let Some(stands) = stands {
            return readers.add(&stands.seen, time, self.period, monotonic());
        }
        match self.unwinder.waiting(thread) {
            // Outside of a poll it waits for work.
            Ok(taken) if !taken.seen.is_polling() => {}
            Ok(WaitingStack { stack, syscall, slices, seen, .. }) => {
                let Some(start) = seen.start() else { return };
                let handler = seen.work().and_then(Handler::of).map(ByPlace);
                let seen = Seen { stack, thread, handler, state: Some(OFF_CPU), syscall };
                readers.add(&seen, time, self.period, monotonic());
                self.stands.insert(thread, Stands { slices, start, seen });
            }
            // Awake again, it runs.
            Err(NotCopied::Running | NotCopied::Moved) => self.ask(thread, true, time),
            Err(NotCopied::Unknown) => self.missed += 1,
        }
    }

    fn ask(&mut self, thread: Thread, is_polling: bool, time: u64) {
        // A stack that has not come yet still may: the thread is not scheduled.
        if let Some(asked) = self.asked.get_mut(&thread) {
            *asked += time;
        } else if self.session.ask(thread.number()).is_ok() {
            self.asked.insert(thread, time);
        } else if is_polling {
            self.missed += 1;
        }
    }

    fn fetch(&mut self, readers: &mut Readers) {
        while let Some(shot) = self.session.next() {
            let thread = Thread::new(shot.ticket().thread());
            let Some(time) = self.asked.remove(&thread) else { continue };
            if !shot.seen().is_polling() {
                // It was between polls.
                continue;
            }
            let seen = Seen {
                stack: self.unwinder.unwind(&shot),
                thread,
                handler: shot.seen().work().and_then(Handler::of).map(ByPlace),
                state: Some(ON_CPU),
                syscall: None,
            };
            readers.add(&seen, time, self.period, shot.at());
        }
    }
}

impl Sampler for Wall {
    fn set_period(&mut self, period: Duration) {
        if self.period == 0 {
            // Somewhere in the first period: else a window that is as short as one would miss it.
            let before = period.mul_f64(portion());
            self.looked = monotonic().saturating_sub(nanos(before));
        }
        self.period = nanos(period).max(1);
    }

    fn step(&mut self, readers: &mut Readers) {
        self.fetch(readers);
        let now = monotonic();
        // Late, a look stands for all the periods that have passed.
        let passed = now.saturating_sub(self.looked);
        let Some(periods) = passed.checked_div(self.period).filter(|periods| *periods > 0) else {
            return;
        };
        self.looked += periods * self.period;
        self.look(periods * self.period, readers);
    }

    fn next_step(&self) -> u64 {
        self.looked + self.period
    }

    fn dropped(&self) -> u64 {
        self.session.dropped() + self.missed
    }

    fn modules(&self) -> &[Module] {
        self.unwinder.modules()
    }
}
