//! Where samples of memory come from: jemalloc.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use thermograph_profile::Profile;

use super::{
    super::CaptureError,
    Memory,
    sampling::{Reader, Window},
};
use crate::{allocator, config::HeapMode};

/// Keeps sampling on for as long as it is wanted.
#[derive(Debug)]
pub(super) struct Source {
    /// Of what is told without a window.
    reader: Arc<Mutex<Option<Reader>>>,
}

impl Source {
    pub(super) fn new(mode: HeapMode) -> Self {
        let is_wanted = mode == HeapMode::Always && allocator::lacks().is_none();
        let join = || Reader::join().inspect_err(|error| tracing::error!("heap: {error}")).ok();
        Self { reader: Arc::new(Mutex::new(is_wanted.then(join).flatten())) }
    }

    /// What is allocated in the next while.
    pub(super) async fn over(
        &self,
        memory: Memory,
        duration: Duration,
    ) -> Result<Profile, CaptureError> {
        let window = tokio::task::spawn_blocking(move || Window::open(duration)).await??;
        tokio::time::sleep(duration).await;
        let name = move || Ok(window.close()?.profile(memory));
        tokio::task::spawn_blocking(name).await?
    }

    /// What was allocated since sampling began; if it has not, it begins now, and goes on.
    pub(super) async fn so_far(&self, memory: Memory) -> Result<Profile, CaptureError> {
        let reader = Arc::clone(&self.reader);
        let name = move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let joined = match reader.take() {
                Some(joined) => joined,
                None => Reader::join()?,
            };
            let sites = reader.insert(joined).so_far();
            drop(reader);
            Ok(sites?.profile(memory))
        };
        tokio::task::spawn_blocking(name).await?
    }
}
