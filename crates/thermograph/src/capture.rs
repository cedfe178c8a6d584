//! Captures: profiles over a window.
//!
//! Captures of CPU time, of wall-clock time and of memory that overlap share the samples, each with
//! a window of its own. Of spans there is one capture at a time.

mod cpu;
mod heap;
#[cfg(sampler)]
mod session;
mod spans;
#[cfg(sampler)]
pub(crate) mod tally;
mod turn;
#[cfg(sampler)]
mod wall;

use std::time::Duration;

use thiserror::Error;

#[cfg(all(sampler, tokio_unstable))]
pub(crate) use self::turn::Turn;
pub(crate) use self::{
    heap::{Heap, Memory},
    spans::{Spans, is_of_the_program},
    turn::{Pace, Turns},
};
use thermograph_profile::Profile;

use super::{allocator::NoHeap, config::HeapMode};

/// The window of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How long to capture.
    pub duration: Duration,
    /// Whether to end a capture of the same kind that is running, and take its place; of no effect
    /// where captures share the samples.
    pub force: bool,
}

/// Why nothing was captured.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// Another capture of the same kind is running.
    #[error("already running, for another {} s (use force=true to take its place)", .0.as_secs_f64().ceil())]
    Running(Duration),
    /// As many captures of one kind are running as there may be.
    #[error(
        "{most} captures of this kind are running, which is the limit: try again in {} s",
        .left.as_secs_f64().ceil()
    )]
    TooMany {
        /// The limit.
        most: usize,
        /// How long the one that ends first still takes.
        left: Duration,
    },
    /// The thread that samples panicked.
    #[error("the sampling thread ended")]
    Ended,
    /// Another part of the program captures the same.
    #[error("already running, for somebody else in this process")]
    Elsewhere,
    /// Somebody else took this capture's place.
    #[error("ended by another capture that was asked for with force=true")]
    Superseded,
    /// The app did not put on [`Thermograph::tracing_layer`].
    ///
    /// [`Thermograph::tracing_layer`]: super::Thermograph::tracing_layer
    #[error("no spans to capture: put Thermograph::tracing_layer() on the app's subscriber")]
    NoLayer,
    /// The profiler could not start, or its report could not be read.
    #[error("the CPU profiler failed: {0}")]
    Profiler(#[from] ::pprof::Error),
    /// The system does not let stacks be taken.
    #[error("{0}")]
    NoStacks(String),
    /// The program lacks what it takes to sample memory.
    #[error("{0}")]
    NoHeap(NoHeap),
    /// The configuration says that memory is not sampled.
    #[error("memory is not sampled: heap = \"off\"; set diagnostics.heap to on-demand or always")]
    HeapOff,
    /// jemalloc does not do as it is told.
    #[error("memory is not sampled: {0}")]
    Heap(#[from] std::io::Error),
    /// The thread that names the stacks panicked.
    #[error("naming the stacks failed: {0}")]
    Naming(#[from] tokio::task::JoinError),
}

/// Everything that can be captured.
#[derive(Debug)]
pub(crate) struct Captures {
    heap: Heap,
    spans: Spans,
}

impl Captures {
    pub(crate) fn new(heap: HeapMode) -> Self {
        Self { heap: Heap::new(heap), spans: Spans::default() }
    }

    pub(crate) fn heap(&self) -> &Heap {
        &self.heap
    }

    pub(crate) fn spans(&self) -> &Spans {
        &self.spans
    }

    pub(crate) async fn capture(
        &self,
        kind: Kind,
        window: Window,
    ) -> Result<Profile, CaptureError> {
        match kind {
            Kind::Cpu { frequency } => cpu::capture(frequency, window.duration).await,
            Kind::Memory(memory) => self.heap.capture(memory, window.duration).await,
            Kind::Spans => self.spans.capture(window).await,
            #[cfg(sampler)]
            Kind::Wall { frequency } => wall::capture(frequency, window.duration).await,
            #[cfg(not(sampler))]
            Kind::Wall { .. } => Err(CaptureError::NoStacks(
                "wall-clock profiles need Linux on x86-64 or ARM64".to_owned(),
            )),
        }
    }
}

/// What to capture.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// CPU time, `frequency` samples a second of it.
    Cpu { frequency: u32 },
    /// Memory that was allocated in the window.
    Memory(Memory),
    /// Time in the spans that the program chose.
    Spans,
    /// Wall-clock time of threads while they poll, `frequency` samples a second.
    Wall { frequency: u32 },
}

#[cfg(sampler)]
impl From<thermograph_sampler::SessionError> for CaptureError {
    fn from(error: thermograph_sampler::SessionError) -> Self {
        match error {
            thermograph_sampler::SessionError::Taken => Self::Elsewhere,
            thermograph_sampler::SessionError::Signal(_) => Self::NoStacks(error.to_string()),
        }
    }
}
