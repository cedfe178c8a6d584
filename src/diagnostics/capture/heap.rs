//! Memory by stack: what was allocated, and what of it still lives.
//!
//! Sampled by jemalloc, an allocation out of half a megabyte, with the handler that the thread
//! worked for. On demand, sampling is on for the window of a capture, which so sees only what was
//! allocated in it; what was there before is not in it, however much it is.

#[cfg(all(sampler, feature = "jemalloc"))]
mod always;
#[cfg(all(sampler, feature = "jemalloc"))]
mod sites;

#[cfg(all(sampler, feature = "jemalloc"))]
use std::time::Duration;

#[cfg(all(sampler, feature = "jemalloc"))]
use self::{always::Always, sites::Sites};
#[cfg(all(sampler, feature = "jemalloc"))]
use super::turn::{Pace, Turn};
use super::{CaptureError, Turns, Window};
#[cfg(all(sampler, feature = "jemalloc"))]
use crate::diagnostics::sampler::HeapSession;
use crate::diagnostics::{allocator, config::HeapMode, profile::Profile};

/// Which value of memory is looked at; a profile has all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Memory {
    /// What still lives.
    Live,
    /// What was allocated, freed or not.
    Allocated,
}

/// The sampler of memory.
#[derive(Debug)]
pub(crate) struct Heap {
    mode: HeapMode,
    turns: Turns,
    #[cfg(all(sampler, feature = "jemalloc"))]
    always: Option<Always>,
}

impl Heap {
    /// Begins to sample where that is done always.
    pub(crate) fn new(mode: HeapMode) -> Self {
        #[cfg(all(sampler, feature = "jemalloc"))]
        let always = (mode == HeapMode::Always && allocator::lacks().is_none())
            .then(|| Always::start().inspect_err(|error| tracing::error!("{error}")).ok())
            .flatten();
        Self {
            mode,
            turns: Turns::default(),
            #[cfg(all(sampler, feature = "jemalloc"))]
            always,
        }
    }

    /// Whether there is something to tell without a window.
    pub(crate) fn is_always(&self) -> bool {
        self.mode == HeapMode::Always
    }

    /// What was allocated in the next window.
    pub(crate) async fn capture(
        &self,
        memory: Memory,
        window: Window,
    ) -> Result<Profile, CaptureError> {
        self.check()?;
        let turn = self.turns.take(window).await?;
        #[cfg(all(sampler, feature = "jemalloc"))]
        {
            let always = self.always.as_ref().map(Always::listener);
            let sampled = turn.run(move |turn| match always {
                Some(listener) => listener.follow(turn),
                None => sample(turn),
            });
            name(memory, sampled.await?).await
        }
        #[cfg(not(all(sampler, feature = "jemalloc")))]
        {
            drop((memory, turn));
            Err(CaptureError::NoHeap(allocator::NoHeap::Feature))
        }
    }

    /// What was allocated since the start, where it is sampled always.
    pub(crate) async fn since_the_start(&self, memory: Memory) -> Result<Profile, CaptureError> {
        self.check()?;
        #[cfg(all(sampler, feature = "jemalloc"))]
        {
            let sites = self.always.as_ref().ok_or(CaptureError::Elsewhere)?.sites();
            name(memory, sites).await
        }
        #[cfg(not(all(sampler, feature = "jemalloc")))]
        {
            let _ = memory;
            std::future::ready(Err(CaptureError::NoHeap(allocator::NoHeap::Feature))).await
        }
    }

    fn check(&self) -> Result<(), CaptureError> {
        match allocator::lacks() {
            _ if self.mode == HeapMode::Off => Err(CaptureError::HeapOff),
            Some(lacking) => Err(CaptureError::NoHeap(lacking)),
            None => Ok(()),
        }
    }
}

/// How often it is looked what jemalloc has told.
#[cfg(all(sampler, feature = "jemalloc"))]
const FETCH: Duration = Duration::from_millis(4);

/// Samples as long as the window is.
#[cfg(all(sampler, feature = "jemalloc"))]
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
#[cfg(all(sampler, feature = "jemalloc"))]
async fn name(memory: Memory, sites: Sites) -> Result<Profile, CaptureError> {
    Ok(tokio::task::spawn_blocking(move || sites.profile(memory)).await?)
}
