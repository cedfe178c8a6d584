//! CPU time by stack: a timer on the CPU clock of every thread.
//!
//! A thread that sleeps or waits uses no CPU time and has no sample: that is what [`wall`] and the
//! stalls are for. Where the sampler cannot be, the `pprof` crate stands in. Either way captures
//! that overlap share the samples.
//!
//! [`wall`]: super::wall

mod fallback;

#[cfg(sampler)]
use std::collections::HashMap;
use std::time::Duration;

use thermograph_profile::{Profile, ValueType};
use thermograph_sampler::{
    CpuTimer, Module, NotAsked, Reason, Session, Thread, Unwinder, monotonic,
};

use super::CaptureError;
#[cfg(sampler)]
use super::{
    session::{Readers, Sampler, Shared, nanos, portion},
    tally::Seen,
};
use crate::handlers::{ByPlace, Handler};
#[cfg(sampler)]
use crate::log;

/// `frequency` samples for each second of CPU time, for as long as `duration`.
pub(crate) async fn capture(frequency: u32, duration: Duration) -> Result<Profile, CaptureError> {
    #[cfg(sampler)]
    {
        static CPU: Shared = Shared::new(
            Reason::Cpu,
            "thermo-cpu",
            ValueType { kind: "cpu", unit: "nanoseconds" },
            |session, unwinder| Box::new(Cpu::new(session, unwinder)),
        );
        match CPU.read(frequency, duration).await {
            // Some sandboxes forbid what it takes.
            Err(CaptureError::NoStacks(error)) => {
                log::submit(move || {
                    tracing::warn!(%error, "the pprof crate samples CPU time instead");
                });
            }
            captured => return captured,
        }
    }
    fallback::capture(frequency, duration).await
}

/// How often new threads are looked for.
#[cfg(sampler)]
const NEW_THREADS: u64 = 20_000_000;
/// Looks for new threads after which those that have a timer are examined again.
#[cfg(sampler)]
const EXAMINATION: u64 = 10;
/// How often stacks that were taken are fetched.
#[cfg(sampler)]
const FETCH: u64 = 4_000_000;

/// A timer for each thread that is there.
#[cfg(sampler)]
struct Cpu {
    // Before the session, which must last as long as they do.
    timers: HashMap<Thread, CpuTimer>,
    session: Session,
    unwinder: Unwinder,
    period: Duration,
    /// When new threads are looked for again, and when the next stacks are fetched.
    next_look: u64,
    next_fetch: u64,
    looks: u64,
    /// The CPU time of threads without a timer, as of the last look.
    unwatched: HashMap<Thread, Duration>,
    /// CPU time of such threads, in periods and what is left over.
    missed: u64,
    rest: Duration,
    is_told: bool,
}

#[cfg(sampler)]
impl Cpu {
    fn new(session: Session, unwinder: Unwinder) -> Self {
        Self {
            timers: HashMap::new(),
            session,
            unwinder,
            period: Duration::ZERO,
            next_look: 0,
            next_fetch: 0,
            looks: 0,
            unwatched: HashMap::new(),
            missed: 0,
            rest: Duration::ZERO,
            is_told: false,
        }
    }

    fn fetch(&mut self, readers: &mut Readers) {
        let period = nanos(self.period);
        while let Some(shot) = self.session.next() {
            let seen = Seen {
                stack: self.unwinder.unwind(&shot),
                thread: Thread::new(shot.ticket().thread()),
                handler: shot.seen().work().and_then(Handler::of).map(ByPlace),
                state: None,
                syscall: None,
            };
            let time = u64::from(shot.weight()).saturating_mul(period);
            readers.add(&seen, time, time, shot.at());
        }
    }

    fn follow_threads(&mut self) {
        let there = Thread::all();
        self.timers.retain(|thread, _| there.contains(thread));
        self.unwatched.retain(|thread, _| there.contains(thread));
        self.looks += 1;
        // A signal that the thread blocks would stay pending, where `sigwait` of the app finds it.
        // One whose handler was replaced would run the app's.
        if self.looks.is_multiple_of(EXAMINATION) {
            self.timers.retain(|thread, _| self.session.deliverable(thread.number()).is_ok());
        } else if !self.session.is_in_place() {
            self.timers.clear();
        }
        for thread in there {
            if self.timers.contains_key(&thread) {
                continue;
            }
            // Somewhere in the first period: else threads that use less than one would never show.
            let first = self.period.mul_f64(portion());
            match self.session.timer(thread.number(), first, self.period) {
                Ok(timer) => {
                    self.timers.insert(thread, timer);
                    self.unwatched.remove(&thread);
                }
                Err(NotAsked::Ended) => {}
                Err(why) => self.miss(thread, why),
            }
        }
        let (rest, period) = (nanos(self.rest), nanos(self.period).max(1));
        self.missed += rest / period;
        self.rest = Duration::from_nanos(rest % period);
    }

    /// Counts the CPU time that a thread without a timer has used since the last look.
    fn miss(&mut self, thread: Thread, why: NotAsked) {
        let Some(now) = thread.cpu_time() else { return };
        if let Some(before) = self.unwatched.insert(thread, now) {
            self.rest += now.saturating_sub(before);
            // A new thread blocks signals for a moment: seen again, it really does.
            if !self.is_told {
                self.is_told = true;
                let name = thread.name().unwrap_or_default();
                log::submit(move || {
                    tracing::warn!(
                        thread = name,
                        reason = %why,
                        "CPU samples are missing, and counted as dropped"
                    );
                });
            }
        }
    }
}

#[cfg(sampler)]
impl Sampler for Cpu {
    fn set_period(&mut self, period: Duration) {
        // A timer that is set again loses what it has counted of its period, and begins somewhere in
        // the next one: over many times that is the same.
        self.timers.clear();
        self.period = period;
        self.follow_threads();
    }

    fn step(&mut self, readers: &mut Readers) {
        let now = monotonic();
        if now >= self.next_look && !self.period.is_zero() {
            self.follow_threads();
            let Self { timers, .. } = self;
            readers.keep_threads(|thread| timers.contains_key(thread));
            self.next_look = now + NEW_THREADS;
        }
        self.fetch(readers);
        self.next_fetch = now + FETCH;
    }

    fn next_step(&self) -> u64 {
        self.next_fetch
    }

    fn dropped(&self) -> u64 {
        self.session.dropped() + self.missed
    }

    fn modules(&self) -> &[Module] {
        self.unwinder.modules()
    }
}
