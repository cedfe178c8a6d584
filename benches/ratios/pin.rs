//! A core for the server and another one for the client.
//!
//! Left to the scheduler, which of them shares a core with whom changes from round to round, and
//! moves the throughput of a hello by more than anything that is measured here.

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Whose core.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// The first that there is.
    Server,
    /// The last.
    Client,
}

/// Lets a thread go where it liked when dropped.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Side {
    /// Keeps this thread, and those that it starts from now on, on the side's core.
    pub(crate) fn pin(self) -> anyhow::Result<Pinned> {
        let before = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core));
        ensure!(before.count() > 1, "two cores are needed: one for the server, one for the client");
        let core = match self {
            Self::Server => cores.next(),
            Self::Client => cores.next_back(),
        };
        let mut only = CpuSet::new();
        only.set(core.context("no core")?);
        sched_setaffinity(None, &only)?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The set is one that was in force before.
        let _ = sched_setaffinity(None, &self.before);
    }
}
