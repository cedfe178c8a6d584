//! CPU time by stack: a timer on the CPU clock of every thread.
//!
//! A thread that sleeps or waits uses no CPU time and has no sample: that is what [`wall`] and the
//! stalls are for. Where the sampler cannot be, the `pprof` crate stands in. Either way captures
//! that overlap share the samples.
//!
//! [`wall`]: super::wall

mod fallback;

use std::time::Duration;
#[cfg(sampler)]
use std::{collections::HashMap, io::ErrorKind};

use super::CaptureError;
#[cfg(sampler)]
use super::{
    session::{Readers, Sampler, Shared, nanos, portion},
    tally::Seen,
};
use crate::diagnostics::profile::Profile;
#[cfg(sampler)]
use crate::diagnostics::{
    log,
    profile::ValueType,
    sampler::{CpuTimer, Module, Reason, Session, Thread, Unwinder, monotonic},
    watch::{ByPlace, handler_at},
};

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
    /// Threads that got no timer, and whether that was told.
    unwatched: usize,
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
            unwatched: 0,
            is_told: false,
        }
    }

    fn fetch(&mut self, readers: &mut Readers) {
        let period = nanos(self.period);
        while let Some(shot) = self.session.next() {
            let seen = Seen {
                stack: self.unwinder.unwind(&shot),
                thread: Thread::new(shot.ticket().thread()),
                handler: handler_at(shot.seen().handler).map(ByPlace),
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
        self.unwatched = 0;
        for thread in there {
            if self.timers.contains_key(&thread) {
                continue;
            }
            // Somewhere in the first period: else threads that use less than one would never show.
            let first = self.period.mul_f64(portion());
            match CpuTimer::start(&self.session, thread.number(), first, self.period) {
                Ok(timer) => drop(self.timers.insert(thread, timer)),
                // It ended, or the system's bound on timers is reached.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                Err(_) => self.unwatched += 1,
            }
        }
        if self.unwatched > 0 && !self.is_told {
            self.is_told = true;
            let threads = self.unwatched;
            log::submit(move || {
                tracing::warn!(threads, "the system has no timer left for these threads");
            });
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
        self.session.dropped()
    }

    fn modules(&self) -> &[Module] {
        self.unwinder.modules()
    }
}
