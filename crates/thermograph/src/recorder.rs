//! What records timelines: the turns of those who ask for one, and the tracing layer that notes spans
//! while one is recorded.

mod spans;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, registry::LookupSpan};

use self::spans::EnteredSpans;
use crate::{
    capture::{Turns, is_of_the_program},
    gate::Gate,
};

/// The recorder of timelines.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) turns: Turns,
    /// Lets the program's spans through while a timeline is recorded.
    pub(crate) gate: Gate,
    has_layer: AtomicBool,
}

impl Recorder {
    /// The tracing layer, which notes spans while a timeline is recorded.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        self.has_layer.store(true, Relaxed);
        EnteredSpans.with_filter(self.gate.clone())
    }

    /// Returns whether the layer was asked for, to be put on the app's subscriber.
    pub(crate) fn has_layer(&self) -> bool {
        self.has_layer.load(Relaxed)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            turns: Turns::default(),
            gate: Gate::new(is_of_the_program, LevelFilter::DEBUG),
            has_layer: AtomicBool::new(false),
        }
    }
}
