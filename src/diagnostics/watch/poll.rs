//! The time of one poll, written to its handler when the poll ends, by return or by panic.

use std::time::Instant;

use super::handler::Handler;

/// A poll that lasts.
pub(crate) struct Poll<'a> {
    handler: &'a Handler,
    start: Instant,
}

impl<'a> Poll<'a> {
    pub(crate) fn begin(handler: &'a Handler) -> Self {
        Self { handler, start: Instant::now() }
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.handler.polls.record(self.start.elapsed());
    }
}
