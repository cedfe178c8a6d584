//! Memory by stack: what was allocated, and what of it still lives.
//!
//! Sampled by jemalloc, an allocation out of half a megabyte, with the handler that the thread
//! worked for. A capture over a window sees only what was allocated in it. Without a window the
//! answer is there at once, and cumulative: all since sampling began, so that the difference of two
//! answers is what happened in between. Sampling begins with the program, or on demand: then it is
//! on while a window lasts, and for good once a client has asked without a window. Captures that
//! overlap share the samples.

#[cfg(not(heap))]
mod no_source;
#[cfg(heap)]
mod sampling;
#[cfg(heap)]
mod sites;
#[cfg(heap)]
mod source;

use std::time::Duration;

use thermograph_profile::Profile;

#[cfg(not(heap))]
use self::no_source::Source;
#[cfg(heap)]
use self::source::Source;
use super::CaptureError;
use crate::{allocator, config::HeapMode};

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
    source: Source,
}

impl Heap {
    /// Begins to sample where that is done always.
    pub(crate) fn new(mode: HeapMode) -> Self {
        Self { mode, source: Source::new(mode) }
    }

    /// What was allocated in the next while.
    pub(crate) async fn capture(
        &self,
        memory: Memory,
        duration: Duration,
    ) -> Result<Profile, CaptureError> {
        self.check()?;
        self.source.over(memory, duration).await
    }

    /// What was allocated since sampling began, at once. On demand, the first call begins it.
    pub(crate) async fn so_far(&self, memory: Memory) -> Result<Profile, CaptureError> {
        self.check()?;
        self.source.so_far(memory).await
    }

    fn check(&self) -> Result<(), CaptureError> {
        match allocator::lacks() {
            _ if self.mode == HeapMode::Off => Err(CaptureError::HeapOff),
            Some(lacking) => Err(CaptureError::NoHeap(lacking)),
            None => Ok(()),
        }
    }
}
