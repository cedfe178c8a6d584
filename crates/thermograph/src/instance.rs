//! The parts of one [`Thermograph`](crate::Thermograph), for those that answer questions about them.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thermograph_profile::captures::Folder;

#[cfg(tokio_unstable)]
use crate::hooks;
use crate::{
    capture::Captures, checks::Examine, config::Config, console::Console, coverage::Coverage,
    exposition::Exposition, handlers::Ledger, history::History, pool::Pools, reach::Probe,
    recorder::Recorder, stall,
};

/// The diagnostics of one process: cheap to clone, all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Instance(pub(crate) Arc<Parts>);

/// What the diagnostics consist of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) ledger: &'static Ledger,
    pub(crate) captures: Captures,
    /// Where they are kept.
    pub(crate) folder: Arc<Folder>,
    // Before the stalls, whose books it reads.
    pub(crate) history: History,
    pub(crate) stalls: stall::Watch,
    pub(crate) pools: Pools,
    /// Taken apart once: the layer by `tracing_layer`, the server by `serve`.
    pub(crate) console: Mutex<Console>,
    pub(crate) exposition: Vec<Exposition>,
    pub(crate) examinations: Vec<Examine>,
    /// A permit each while the app's metrics are rendered.
    pub(crate) rendering: Arc<tokio::sync::Semaphore>,
    pub(crate) recorder: Recorder,
    /// Finds out what reaches the tracing layer.
    pub(crate) probe: Probe,
    /// Who asks tasks where they wait.
    #[cfg(all(sampler, tokio_unstable))]
    pub(crate) asking: crate::capture::Turns,
    /// What the hooks of all runtimes share; made with the first.
    #[cfg(tokio_unstable)]
    pub(crate) hooks: std::sync::OnceLock<Arc<hooks::Shared>>,
}

impl Deref for Instance {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Parts {
    /// Returns whether the hooks were installed on any runtime.
    pub(crate) fn is_hooked(&self) -> bool {
        #[cfg(tokio_unstable)]
        let is_hooked = self.hooks.get().is_some_and(|hooks| hooks.is_installed());
        #[cfg(not(tokio_unstable))]
        let is_hooked = false;
        is_hooked
    }

    /// Returns how much of the work outside of handlers is seen.
    pub(crate) fn coverage(&self) -> Coverage {
        Coverage::new(self.stalls.workers(), self.is_hooked())
    }

    /// What each handler has cost so far.
    pub(crate) fn ledger(&self) -> &'static Ledger {
        self.ledger
    }

    /// The newest stalls, the newest first, with names for their stacks.
    pub(crate) fn stalls(&self) -> Vec<stall::Stall> {
        let stalls = self.stalls.store().newest();
        stall::name(&stalls);
        stalls.iter().map(|record| record.stall()).collect()
    }

    /// Has the runtime that this is called in watched: its blocking pool, and its workers outside of
    /// polls.
    pub(crate) fn note_runtime(&self) {
        self.ledger.overruns().note_runtime();
    }

    pub(crate) fn console(&self) -> MutexGuard<'_, Console> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
