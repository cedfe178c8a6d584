//! For tests of an app: no handler may stall.

use std::thread;

use crate::{instance::Instance, stall::Stall};

/// Fails when dropped, if a handler stalled since it was made; see
/// [`Thermograph::assert_no_stall`](crate::Thermograph::assert_no_stall).
#[derive(Debug)]
#[must_use = "it looks for stalls when it is dropped"]
pub struct NoStall {
    instance: Instance,
    /// Stalls up to this number were there before.
    since: u64,
}

impl NoStall {
    pub(crate) fn new(instance: &Instance) -> Self {
        let since = newest(instance).first().map_or(0, |stall| stall.id);
        Self { instance: instance.clone(), since }
    }

    /// The stalls since, the newest first: those that handlers are at fault for, whether they have
    /// ended or last.
    pub fn stalls(&self) -> Vec<Stall> {
        self.instance.stalls.settle();
        let mut stalls = newest(&self.instance);
        stalls.retain(|stall| stall.id > self.since && stall.class.is_blamed() && !stall.in_place);
        stalls
    }

    /// The stalls that would go unseen now, as a sentence; `None` if all are seen.
    ///
    /// A guard that passes has seen every poll of instrumented handlers. Spawned tasks are seen without
    /// gaps if the runtime has the hooks.
    pub fn gap(&self) -> Option<String> {
        self.instance.coverage().gap()
    }
}

fn newest(instance: &Instance) -> Vec<Stall> {
    instance.stalls()
}

impl Drop for NoStall {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let stalls = self.stalls();
        let told: Vec<_> = stalls.iter().take(5).map(ToString::to_string).collect();
        assert!(stalls.is_empty(), "{} stalls:\n{}", stalls.len(), told.join("\n"));
    }
}
