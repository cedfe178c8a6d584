//! Memory by stack: what was allocated, and what of it still lives.
//!
//! Sampled by jemalloc, an allocation out of half a megabyte, with the handler that the thread
//! worked for. On demand, sampling is on for the window of a capture, which so sees only what was
//! allocated in it; what was there before is not in it, however much it is.

#[cfg(heap)]
mod always;
#[cfg(not(heap))]
mod no_source;
#[cfg(heap)]
mod sites;
#[cfg(heap)]
mod source;

#[cfg(not(heap))]
use self::no_source::Source;
#[cfg(heap)]
use self::source::Source;
use super::{CaptureError, Turns, Window};
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
    source: Source,
}

impl Heap {
    /// Begins to sample where that is done always.
    pub(crate) fn new(mode: HeapMode) -> Self {
        Self { mode, turns: Turns::default(), source: Source::new(mode) }
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
        self.source.over(turn, memory).await
    }

    /// What was allocated since the start, where it is sampled always.
    pub(crate) async fn since_the_start(&self, memory: Memory) -> Result<Profile, CaptureError> {
        self.check()?;
        self.source.since_the_start(memory).await
    }

    fn check(&self) -> Result<(), CaptureError> {
        match allocator::lacks() {
            _ if self.mode == HeapMode::Off => Err(CaptureError::HeapOff),
            Some(lacking) => Err(CaptureError::NoHeap(lacking)),
            None => Ok(()),
        }
    }
}
