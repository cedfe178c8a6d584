//! The time of one poll: on the thread's slot while it lasts, and written to its handler when it
//! ends, by return or by panic.

use std::{mem, ptr};

use http::HeaderValue;
use thermograph_sampler::{Moment, Outer, Slot};

use super::{
    handler::Handler,
    overrun::PollId,
    shard::Shard,
    track::{self, Part},
};

/// A poll that lasts.
pub(crate) struct Poll {
    handler: &'static Handler,
    slot: Slot,
    /// What the thread polled before.
    outer: Outer,
    start: Moment,
    /// Nanoseconds that were worked before this poll and count as part of it.
    before: u64,
    /// Of a request.
    part: Part,
    /// The counters of this thread for the handler; `None` if they were not looked up yet.
    shard: Option<&'static Shard>,
}

/// The end of a poll, for whoever needs the time too: the clock is the dearest part of the layer.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) shard: &'static Shard,
    pub(crate) start: Moment,
    pub(crate) at: Moment,
    /// Whose work it was: the app may have named it meanwhile.
    pub(crate) handler: &'static Handler,
    /// Nanoseconds that it took.
    pub(crate) taken: u64,
    /// Which poll it was, where it took too long.
    pub(crate) overran: Option<PollId>,
}

impl Poll {
    /// Begins a poll of no request.
    #[inline]
    pub(crate) fn begin(handler: &'static Handler, start: Moment) -> Self {
        Self::of_request(handler, None, start, 0, Part::default(), None)
    }

    /// Begins a poll that goes on from so many nanoseconds of work, and is this part of a request.
    #[inline]
    pub(crate) fn of_request(
        handler: &'static Handler,
        request_id: Option<&HeaderValue>,
        start: Moment,
        before: u64,
        part: Part,
        shard: Option<&'static Shard>,
    ) -> Self {
        let slot = Slot::current();
        let outer = slot.enter(handler.number(), request_id.map(HeaderValue::as_bytes), start);
        Self { handler, slot, outer, start, before, part, shard }
    }

    /// Where the thread that polls is written down.
    #[inline]
    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// Does the work of the poll.
    #[inline]
    pub(crate) fn during(self, work: impl FnOnce(Slot)) -> End {
        work(self.slot);
        let end = self.record();
        mem::forget(self);
        end
    }

    /// Leaves the poll unwritten: how many nanoseconds it has taken so far.
    #[inline]
    pub(crate) fn leave(self) -> u64 {
        let at = Moment::now();
        self.slot.leave(self.outer, self.start, at);
        let taken = self.before + at.since(self.start);
        mem::forget(self);
        taken
    }

    #[inline]
    fn record(&self) -> End {
        let handler = Handler::at_work_on(self.slot).unwrap_or(self.handler);
        let shard = match self.shard {
            Some(shard) if ptr::eq(handler, self.handler) => shard,
            _ => handler.shard(self.slot),
        };
        let at = Moment::now();
        let taken = at.since(self.start);
        let with_before = self.before + taken;
        shard.poll(with_before);
        if track::is_on() {
            track::poll(self.slot, handler, (self.start, at), self.part);
        }
        // Before the slot goes back: the watchdog must not take it for a poll that still lasts.
        let overran =
            if handler.overruns.is_too_long(taken) { self.overran(handler, at) } else { None };
        self.slot.leave(self.outer, self.start, at);
        End { shard, start: self.start, at, handler, taken: with_before, overran }
    }

    #[cold]
    #[inline(never)]
    fn overran(&self, handler: &'static Handler, at: Moment) -> Option<PollId> {
        handler.overruns.ended(self.slot, handler, self.start, at).map(|(poll, _)| poll)
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.record();
    }
}
