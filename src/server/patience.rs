//! How long a client may take nothing of what it is sent: it would hold the place of its request
//! for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{self, Instant, Sleep};

/// Bounds the wait of a write.
pub(super) struct Patience {
    longest: Duration,
    /// When patience ends; none as long as nobody was ever waited for.
    end: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl Patience {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, end: None, is_waiting: false }
    }

    /// Returns whether a write waits for the client.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// What a write came to: an error, where it has waited too long.
    pub(super) fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        let until = Instant::now() + self.longest;
        let end = self.end.get_or_insert_with(|| Box::pin(time::sleep_until(until)));
        if !self.is_waiting {
            self.is_waiting = true;
            end.as_mut().reset(until);
        }
        end.as_mut()
            .poll(context)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}
