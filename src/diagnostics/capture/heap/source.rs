//! Where samples of memory come from: jemalloc.

use std::time::Duration;

use super::{
    super::{
        CaptureError,
        turn::{Pace, Turn},
    },
    Memory,
    always::Always,
    sites::Sites,
};
use crate::diagnostics::{allocator, config::HeapMode, profile::Profile, sampler::HeapSession};

/// How often it is looked what jemalloc has told.
const FETCH: Duration = Duration::from_millis(4);

/// What is sampled already, if anything is.
#[derive(Debug)]
pub(super) struct Source {
    always: Option<Always>,
}

impl Source {
    pub(super) fn new(mode: HeapMode) -> Self {
        let is_wanted = mode == HeapMode::Always && allocator::lacks().is_none();
        let start = || Always::start().inspect_err(|error| tracing::error!("heap: {error}")).ok();
        Self { always: is_wanted.then(start).flatten() }
    }

    /// What is allocated as long as the turn is.
    pub(super) async fn over(&self, turn: Turn, memory: Memory) -> Result<Profile, CaptureError> {
        let listener = self.always.as_ref().map(Always::listener);
        let sampled = turn.run(move |turn| match listener {
            Some(listener) => listener.follow(turn),
            None => sample(turn),
        });
        name(memory, sampled.await?).await
    }

    pub(super) async fn since_the_start(&self, memory: Memory) -> Result<Profile, CaptureError> {
        let sites = self.always.as_ref().ok_or(CaptureError::Elsewhere)?.sites();
        name(memory, sites).await
    }
}

/// Samples as long as the window is.
fn sample(turn: &Turn) -> Result<Sites, CaptureError> {
    let session = HeapSession::open()?.ok_or(CaptureError::Elsewhere)?;
    let mut sites = Sites::new(session.interval());
    let pace = Pace::of(turn);
    while pace.wait(FETCH)?.is_some() {
        session.events().for_each(|event| sites.add(event));
    }
    session.events().for_each(|event| sites.add(event));
    sites.end(session.dropped());
    Ok(sites)
}

/// Puts names to the stacks, where that takes no time from anybody.
async fn name(memory: Memory, sites: Sites) -> Result<Profile, CaptureError> {
    Ok(tokio::task::spawn_blocking(move || sites.profile(memory)).await?)
}
