//! CPU time by stack: a timer on the CPU clock of every thread.
//!
//! A thread that sleeps or waits uses no CPU time and has no sample: that is what [`wall`] and the
//! stalls are for. Where the sampler cannot be, the `pprof` crate stands in.
//!
//! [`wall`]: super::wall

mod fallback;

#[cfg(sampler)]
use std::{collections::HashMap, time::Duration};

use super::{CaptureError, Turns, Window};
#[cfg(sampler)]
use super::{
    tally::{Seen, Tally},
    turn::{Pace, Turn},
};
use crate::diagnostics::profile::Profile;
#[cfg(sampler)]
use crate::diagnostics::{
    log,
    profile::ValueType,
    sampler::{CpuTimer, Reason, Session, SessionError, Thread, Unwinder},
    watch::{ByPlace, handler_at},
};

/// The sampler of the process.
#[derive(Debug, Default)]
pub(crate) struct Cpu {
    turns: Turns,
}

impl Cpu {
    pub(crate) async fn capture(
        &self,
        frequency: u32,
        window: Window,
    ) -> Result<Profile, CaptureError> {
        let turn = self.turns.take(window).await?;
        #[cfg(sampler)]
        match Session::open(Reason::Cpu) {
            Ok(session) => {
                return turn.run(move |turn| sample(&session, frequency, turn)).await;
            }
            // Some sandboxes forbid what it takes.
            Err(SessionError::Signal(error)) => {
                log::submit(move || {
                    tracing::warn!(%error, "the pprof crate samples CPU time instead");
                });
            }
            Err(error @ SessionError::Taken) => return Err(error.into()),
        }
        fallback::capture(turn, frequency, window.duration).await
    }
}

/// How often new threads are looked for.
#[cfg(sampler)]
const NEW_THREADS: Duration = Duration::from_millis(20);
/// How often stacks that were taken are fetched.
#[cfg(sampler)]
const FETCH: Duration = Duration::from_millis(4);

#[cfg(sampler)]
fn sample(session: &Session, frequency: u32, turn: &Turn) -> Result<Profile, CaptureError> {
    let period = Duration::from_secs(1) / frequency;
    let mut unwinder = Unwinder::new().map_err(SessionError::Signal)?;
    let mut tally = Tally::new(period);
    let mut timers = Timers { session, period, running: HashMap::new(), unwatched: 0 };
    let pace = Pace::of(turn);
    let mut until_new = Duration::ZERO;
    while let Some(passed) = pace.wait(FETCH)? {
        if passed >= until_new {
            timers.follow_threads();
            until_new = passed + NEW_THREADS;
        }
        fetch(session, &mut unwinder, &mut tally);
    }
    let unwatched = timers.unwatched;
    drop(timers);
    fetch(session, &mut unwinder, &mut tally);
    if unwatched > 0 {
        log::submit(move || {
            tracing::warn!(threads = unwatched, "the system has no timer left for these threads");
        });
    }
    let cpu = ValueType { kind: "cpu", unit: "nanoseconds" };
    Ok(tally.profile(&unwinder, cpu, session.dropped()))
}

#[cfg(sampler)]
fn fetch(session: &Session, unwinder: &mut Unwinder, tally: &mut Tally) {
    while let Some(shot) = session.next() {
        let seen = Seen {
            stack: unwinder.unwind(&shot),
            thread: Thread::new(shot.ticket().thread()),
            handler: handler_at(shot.seen().handler).map(ByPlace),
            state: None,
            syscall: None,
        };
        tally.add(seen, u64::from(shot.weight()));
    }
}

/// A timer for each thread that is there.
#[cfg(sampler)]
struct Timers<'a> {
    session: &'a Session,
    period: Duration,
    running: HashMap<Thread, CpuTimer>,
    /// Threads that got none.
    unwatched: usize,
}

#[cfg(sampler)]
impl Timers<'_> {
    fn follow_threads(&mut self) {
        let there = Thread::all();
        self.running.retain(|thread, _| there.contains(thread));
        self.unwatched = 0;
        for thread in there {
            if self.running.contains_key(&thread) {
                continue;
            }
            // Somewhere in the first period: else threads that use less than one would never show.
            let first = self.period.mul_f64(portion(thread));
            match CpuTimer::start(self.session, thread.number(), first, self.period) {
                Ok(timer) => drop(self.running.insert(thread, timer)),
                // It ended, or the system's bound on timers is reached.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {}
                Err(_) => self.unwatched += 1,
            }
        }
    }
}

/// Between 0 and 1, another each time.
#[cfg(sampler)]
fn portion(thread: Thread) -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(thread) as f64 / u64::MAX as f64
}
