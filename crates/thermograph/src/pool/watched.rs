//! One blocking pool from look to look.

use std::{
    mem,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
#[cfg(all(sampler, not(tokio_unstable)))]
use tokio::runtime::RuntimeFlavor;

#[cfg(not(tokio_unstable))]
use super::LOOK;
use super::{
    Figures,
    books::Look,
    probe::{Probe, Progress},
};
#[cfg(all(sampler, not(tokio_unstable)))]
use super::{LOOK_AT_THREADS, threads::Threads};

/// The pool of a runtime.
#[derive(Debug)]
pub(super) struct Watched {
    runtime: Handle,
    id: String,
    /// Name of its threads, as the kernel has it; `None` until one is known.
    name: Option<String>,
    /// At most one is queued.
    probe: Option<Probe>,
    /// Threads at which it started none for queued work; `None` until that was seen.
    limit: Option<usize>,
    /// The threads that there were when no further one was started for the probe.
    #[cfg(tokio_unstable)]
    unmoved: Option<usize>,
    /// True if it was full, with work in the queue, at the last look.
    was_full: bool,
    /// When it was last looked at, if it was exhausted then.
    exhausted_at: Option<Instant>,
    /// When its threads were last looked at because it was exhausted.
    #[cfg(sampler)]
    sampled_at: Option<Instant>,
    /// No probe is queued before.
    rest_until: Option<Instant>,
    /// The figures of the last look at its threads.
    #[cfg(all(sampler, not(tokio_unstable)))]
    counted: Option<(Instant, Figures)>,
}

/// A probe that waited for less did not wait.
const SHORT: Duration = Duration::from_millis(10);
/// Time after a probe that did not wait until the next one.
const REST: Duration = Duration::from_millis(250);
/// Time between two looks at the threads of a pool that is exhausted.
#[cfg(sampler)]
const SAMPLE: Duration = Duration::from_millis(100);

impl Watched {
    pub(super) fn new(runtime: Handle, name: Option<String>) -> Self {
        let id = runtime.id().to_string();
        Self {
            runtime,
            id,
            name,
            probe: None,
            limit: None,
            #[cfg(tokio_unstable)]
            unmoved: None,
            was_full: false,
            exhausted_at: None,
            #[cfg(sampler)]
            sampled_at: None,
            rest_until: None,
            #[cfg(all(sampler, not(tokio_unstable)))]
            counted: None,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn set_name(&mut self, name: Option<String>) {
        self.name = self.name.take().or(name);
    }

    pub(super) fn is_of(&self, runtime: &Handle) -> bool {
        self.runtime.id() == runtime.id()
    }

    /// Returns whether it may have threads. Workers of a runtime with several threads are among those
    /// of its pool, so that one that has shut down has none.
    pub(super) fn lives(&self) -> bool {
        let metrics = self.runtime.metrics();
        #[cfg(tokio_unstable)]
        let threads = metrics.num_blocking_threads();
        #[cfg(not(tokio_unstable))]
        let threads = 0;
        threads > 0 || metrics.num_alive_tasks() > 0
    }

    /// Its figures by Tokio's counters.
    #[cfg(tokio_unstable)]
    #[expect(clippy::unnecessary_wraps, reason = "without tokio_unstable they may not be known")]
    pub(super) fn figures(&self) -> Option<Figures> {
        let metrics = self.runtime.metrics();
        let threads = metrics.num_blocking_threads();
        // The counters are read one after the other.
        let idle = metrics.num_idle_blocking_threads().min(threads);
        Some(Figures { threads, idle, queued: Some(metrics.blocking_queue_depth()) })
    }

    /// Its figures by the stacks of its threads, looked at now and then.
    #[cfg(all(sampler, not(tokio_unstable)))]
    pub(super) fn figures(&mut self, threads: Option<&mut Threads>) -> Option<Figures> {
        let pause = if self.probe.is_some() { LOOK } else { LOOK_AT_THREADS };
        if self.counted.is_none_or(|(at, _)| at.elapsed() >= pause) {
            let is_shared = self.runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
            let workers = if is_shared { self.runtime.metrics().num_workers() } else { 0 };
            let counted = threads?.count(self.name.as_deref(), workers)?;
            self.counted = Some((Instant::now(), counted));
        }
        self.counted.map(|(_, figures)| figures)
    }

    #[cfg(not(any(sampler, tokio_unstable)))]
    pub(super) fn figures(&self) -> Option<Figures> {
        None
    }

    /// Returns whether it is time to look at its threads, if it is exhausted.
    #[cfg(sampler)]
    pub(super) fn is_sampled(&mut self, look: &Look) -> bool {
        let is_due = self.sampled_at.is_none_or(|before| look.at - before >= SAMPLE);
        if look.is_exhausted && is_due {
            self.sampled_at = Some(look.at);
        }
        look.is_exhausted && is_due
    }

    /// Looks at it once: queues a probe where work seems to wait.
    pub(super) fn look(&mut self, figures: Option<Figures>, now: Instant) -> Look {
        let mut look = Look { at: now, ..Look::default() };
        let progress = self.probe.as_ref().map(|probe| probe.progress(now));
        let mut is_queued = false;
        match progress {
            Some(Progress::Queued(wait)) => {
                look.waits_so_far = Some(wait);
                is_queued = true;
            }
            Some(Progress::Started(wait, thread)) => {
                self.probe = None;
                self.name = thread.or(self.name.take());
                if wait < SHORT {
                    self.rest_until = Some(now + REST);
                }
                look.waited = self.exhausted_at.is_some().then_some(wait);
            }
            Some(Progress::Dropped) => {
                self.probe = None;
                self.rest_until = Some(now + REST);
            }
            None => {}
        }
        let Some(mut figures) = figures else { return look };
        if let Some(wait) = look.waits_so_far
            && self.is_at_limit(wait, figures.threads)
        {
            self.limit = Some(figures.threads);
        }
        // The probe is no work of the app's.
        if is_queued {
            figures.queued = figures.queued.map(|queued| queued.saturating_sub(1));
        }
        if self.limit.is_some_and(|limit| figures.threads > limit) {
            self.limit = None;
        }
        let is_full = figures.threads > 0 && figures.idle == 0;
        // Without the queue's depth it is the probe that finds out.
        let seems_queued = is_full && figures.queued.is_none_or(|queued| queued > 0);
        // Threads may be about to start: it has to be so at two looks in a row.
        let was_full = mem::replace(&mut self.was_full, seems_queued);
        let is_lasting = was_full && seems_queued;
        if is_lasting && !is_queued && self.rest_until.is_none_or(|rest| now >= rest) {
            self.probe();
        }
        let is_queued = figures.queued.map_or(is_queued, |queued| queued > 0);
        look.is_exhausted = is_lasting && is_queued && self.limit == Some(figures.threads);
        if look.is_exhausted {
            // The first look does not tell since when.
            look.lasted = self.exhausted_at.map_or(Duration::ZERO, |before| now - before);
        }
        self.exhausted_at = look.is_exhausted.then_some(now);
        look.figures = Some(figures);
        look.limit = self.limit;
        look
    }

    /// Queues a probe, and sees whether a thread is started for it.
    #[cfg(tokio_unstable)]
    fn probe(&mut self) {
        let metrics = self.runtime.metrics();
        let before = metrics.num_blocking_threads();
        self.probe = Some(Probe::queue(&self.runtime));
        // A thread is counted by the time that `spawn_blocking` returns.
        self.unmoved = (metrics.num_blocking_threads() == before).then_some(before);
    }

    #[cfg(not(tokio_unstable))]
    fn probe(&mut self) {
        self.probe = Some(Probe::queue(&self.runtime));
    }

    /// Returns whether the pool starts no further thread, since a probe has been queued for `wait`.
    /// One that an idle thread takes is not queued for so long.
    #[cfg(tokio_unstable)]
    fn is_at_limit(&self, wait: Duration, threads: usize) -> bool {
        wait >= SHORT && self.unmoved == Some(threads)
    }

    /// Returns whether the pool starts no further thread, since a probe has been queued for `wait`:
    /// such a thread would have taken it by then.
    #[cfg(not(tokio_unstable))]
    #[expect(clippy::unused_self, reason = "with tokio_unstable it is used")]
    fn is_at_limit(&self, wait: Duration, threads: usize) -> bool {
        wait >= LOOK && threads > 0
    }
}
