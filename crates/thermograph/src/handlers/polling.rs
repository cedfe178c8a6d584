//! What a thread polls now.

use std::time::Duration;

use thermograph_sampler::{Moment, Slot};

use super::handler::Handler;

/// A poll that lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polling {
    pub(crate) slot: Slot,
    /// The kernel's number of the thread.
    pub(crate) thread: i32,
    pub(crate) start: Moment,
    /// When it would have begun without what was polled inside of it.
    pub(crate) own_start: Moment,
    pub(crate) handler: &'static Handler,
    /// The Tokio task; 0 where it is not known.
    pub(crate) task: u64,
}

impl Polling {
    /// What the slot's thread polls now, if anything.
    pub(crate) fn on(slot: Slot) -> Option<Self> {
        let thermograph_sampler::Polling { thread, start, own_start, work, task, .. } =
            slot.polling()?;
        Some(Self { slot, thread, start, own_start, handler: Handler::of(work)?, task })
    }

    /// Time in what was polled inside of it so far.
    pub(crate) fn nested(&self) -> Duration {
        Duration::from_nanos(self.own_start.since(self.start))
    }

    /// How long it has lasted, without what was polled inside of it.
    pub(crate) fn age(&self, now: Moment) -> Duration {
        Duration::from_nanos(now.since(self.own_start))
    }
}
