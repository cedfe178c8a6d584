//! The time of one poll, written to its handler when the poll ends, by return or by panic.

use std::mem;

use super::{clock::Moment, handler::Handler, shard::Shard};

/// A poll that lasts.
pub(crate) struct Poll {
    handler: &'static Handler,
    start: Moment,
    /// Nanoseconds that were worked before this poll and count as part of it.
    before: u64,
}

/// The end of a poll, for whoever needs the time too: the clock is the dearest part of the layer.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) shard: &'static Shard,
    pub(crate) at: Moment,
}

impl Poll {
    #[inline]
    pub(crate) fn begin(handler: &'static Handler, start: Moment, before: u64) -> Self {
        Self { handler, start, before }
    }

    #[inline]
    pub(crate) fn end(self) -> End {
        let end = self.record();
        mem::forget(self);
        end
    }

    /// Leaves the poll unwritten: how many nanoseconds it has taken so far.
    #[inline]
    pub(crate) fn leave(self) -> u64 {
        let taken = self.taken(Moment::now());
        mem::forget(self);
        taken
    }

    #[inline]
    fn record(&self) -> End {
        let (shard, at) = (self.handler.shard(), Moment::now());
        shard.poll(self.taken(at));
        End { shard, at }
    }

    #[inline]
    fn taken(&self, until: Moment) -> u64 {
        self.before + until.since(self.start)
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.record();
    }
}
