//! Tokio's blocking pools of the app's runtimes: the threads of `spawn_blocking`, of `tokio::fs` and of
//! `block_in_place`, and the queue in front of them.
//!
//! A thread of its own looks at every known runtime twenty times a second. With `tokio_unstable` a look
//! reads three counters; without it the threads are counted by their stacks, and less often. While a
//! pool has idle threads or an empty queue nothing else happens.
//!
//! The [probe](probe::Probe) is an empty closure that is queued while all threads are busy and work is
//! queued. It reveals two things that Tokio does not report: its delay is the time that work waits in
//! the queue, and a pool that starts no thread for it is at its limit. A pool is **exhausted** while it is
//! at its limit, no thread is idle, and work is queued. Then the stacks of its waiting threads are
//! copied, ten times a second and without a signal.
//!
//! The probe is the only work that the diagnostics give to a runtime's pool: at most one piece at a
//! time. An `on_task_terminate` hook of the app's own is told of its end, as of all blocking work.
//!
//! It does not know which task queued a piece of work: Tokio's hooks do not tell of blocking work.
//! Threads that compute have no stack here, since that would take a signal; a capture of CPU time
//! shows them. Queues that are empty again within 50 ms may be missed.

mod books;
mod frames;
#[cfg(all(sampler, not(tokio_unstable)))]
mod idle;
mod probe;
#[cfg(sampler)]
mod threads;
mod watched;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

#[cfg(sampler)]
use self::books::Seen;
#[cfg(test)]
pub(crate) use self::books::Waits;
use self::{books::Books, watched::Watched};
pub(crate) use self::{
    books::{Figures, Place, Standing, Window},
    frames::{Role, handed, keeper},
};
use crate::{
    handlers::{Ledger, Overruns},
    log,
    runtimes::{Noted, RUNTIMES},
};

/// The blocking pools of one app, watched until dropped.
#[derive(Debug)]
pub(crate) struct Pools {
    reports: Reports,
    thread: Option<JoinHandle<()>>,
}

/// What is known of the pools; clones read the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    books: Mutex<Books>,
}

/// How the figures of a pool are known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// Tokio's own counters.
    #[cfg_attr(
        all(not(tokio_unstable), not(test)),
        expect(dead_code, reason = "Tokio does not tell")
    )]
    Counters,
    /// The stacks of the threads; the depth of the queue is not known.
    #[cfg_attr(all(tokio_unstable, not(test)), expect(dead_code, reason = "Tokio tells"))]
    Stacks,
    /// Nothing is known.
    #[cfg_attr(all(tokio_unstable, not(test)), expect(dead_code, reason = "Tokio tells"))]
    Nothing,
}

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// The longest time between two, after one that took long.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Time between two looks at threads whose stacks tell whether they are idle.
#[cfg(not(tokio_unstable))]
const LOOK_AT_THREADS: Duration = Duration::from_millis(250);
impl Source {
    /// How they are known in this build; `stacks` is true if stacks are taken.
    pub(crate) fn of_build(stacks: bool) -> Self {
        #[cfg(tokio_unstable)]
        {
            let _ = stacks;
            Self::Counters
        }
        #[cfg(not(tokio_unstable))]
        if stacks && cfg!(sampler) { Self::Stacks } else { Self::Nothing }
    }
}

impl Pools {
    /// Starts the thread; `stacks` is true if stacks are taken.
    pub(crate) fn start(ledger: &'static Ledger, stacks: bool) -> io::Result<Self> {
        let reports = Reports::default();
        let of_thread = Arc::clone(&reports.0);
        let run = move || Looker::new(ledger.overruns(), stacks).run(&of_thread);
        let thread = thread::Builder::new().name("thermo-pool".to_owned()).spawn(run)?;
        Ok(Self { reports, thread: Some(thread) })
    }

    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        self.reports.0.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Reports {
    /// The pools now, one for each runtime that is known.
    pub(crate) fn now(&self) -> Vec<Standing> {
        self.0.books().standings()
    }

    /// The pools that were exhausted within a window that ends now.
    pub(crate) fn exhausted_within(&self, window: Duration) -> Vec<Window> {
        self.0.books().within(window, Instant::now())
    }

    /// Returns whether a pool is exhausted now.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.now().iter().any(|standing| standing.is_exhausted)
    }
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread has.
struct Looker {
    overruns: &'static Overruns,
    pools: Vec<Watched>,
    /// `None` if no stacks are taken.
    #[cfg(sampler)]
    threads: Option<threads::Threads>,
}

impl Looker {
    fn new(overruns: &'static Overruns, stacks: bool) -> Self {
        #[cfg(not(sampler))]
        let _ = stacks;
        Self {
            overruns,
            pools: Vec::new(),
            #[cfg(sampler)]
            threads: stacks.then(threads::Threads::default),
        }
    }

    fn run(mut self, shared: &Shared) {
        log::detach();
        while !shared.stop.load(Relaxed) {
            self.take_runtimes(shared);
            let began = Instant::now();
            self.look(shared);
            // However much there is to look at, it takes a twentieth of a processor.
            thread::park_timeout((began.elapsed() * 20).clamp(LOOK, LONGEST_PAUSE));
        }
    }

    fn take_runtimes(&mut self, shared: &Shared) {
        for Noted { runtime, name } in self.overruns.runtimes().take() {
            if let Some(known) = self.pools.iter_mut().find(|pool| pool.is_of(&runtime)) {
                known.set_name(name);
                continue;
            }
            if self.pools.len() >= RUNTIMES {
                self.pools.retain(Watched::lives);
            }
            if self.pools.len() < RUNTIMES {
                self.pools.push(Watched::new(runtime, name));
            }
        }
        shared.books().keep(|runtime| self.pools.iter().any(|pool| pool.id() == runtime));
    }

    fn look(&mut self, shared: &Shared) {
        for pool in &mut self.pools {
            let figures = pool.figures(
                #[cfg(all(sampler, not(tokio_unstable)))]
                self.threads.as_mut(),
            );
            let look = pool.look(figures, Instant::now());
            #[cfg(sampler)]
            let threads = self.threads.as_mut().filter(|_| pool.is_sampled(&look));
            #[cfg(sampler)]
            let seen = threads.map(|threads| threads.sample(pool.name()));
            #[cfg(not(sampler))]
            let seen = None;
            shared.books().note(pool.id(), pool.name(), look, seen);
        }
    }
}

#[cfg(all(test, tokio_unstable))]
mod tests;
