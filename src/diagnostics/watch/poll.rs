//! The time of one poll, written to its handler when the poll ends, by return or by panic.

use std::{mem, time::Duration};

use quanta::Instant;

use super::handler::Handler;

/// A poll that lasts.
pub(crate) struct Poll<'a> {
    handler: &'a Handler,
    start: Instant,
    /// What was worked before this poll and counts as part of it.
    before: Duration,
}

impl<'a> Poll<'a> {
    #[inline]
    pub(crate) fn begin(handler: &'a Handler, start: Instant, before: Duration) -> Self {
        Self { handler, start, before }
    }

    /// Ends the poll; when that was, for whoever needs the time too: the clock is the dearest
    /// part of the layer.
    #[inline]
    pub(crate) fn end(self) -> Instant {
        let end = self.record();
        mem::forget(self);
        end
    }

    /// Leaves the poll unwritten: how long it has taken so far.
    #[inline]
    pub(crate) fn leave(self) -> Duration {
        let taken = self.before + self.start.elapsed();
        mem::forget(self);
        taken
    }

    #[inline]
    fn record(&self) -> Instant {
        let end = Instant::now();
        self.handler.polls.record(self.before + (end - self.start));
        end
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.record();
    }
}
