//! Failed look-ups in the log.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::StoreError;

/// From one line in the log to the next: each request may fail.
const QUIET: Duration = Duration::from_secs(10);

/// Writes failures of look-ups to the log, at most one in [`QUIET`].
#[derive(Default)]
pub(super) struct FailureLog(Mutex<Option<Instant>>);

impl FailureLog {
    pub(super) fn write(&self, error: &StoreError) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() > QUIET) {
            *last = Some(Instant::now());
            tracing::warn!(%error, "a key could not be looked up");
        }
    }
}
