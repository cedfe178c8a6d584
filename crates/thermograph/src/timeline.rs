//! A timeline: what every thread polled over some seconds, for Perfetto and `chrome://tracing`.
//!
//! Polls by handler, stalls with where they stood, requests from their first poll to their end, and
//! the spans of the [tracing layer](super::Thermograph::tracing_layer). With the runtime's hooks
//! the polls of tasks are there as well, around those of the requests that they work on.
//!
//! It does not show what a request waits for between its polls, nor spans that were made before the
//! recording began or are left after it.

mod event;
mod recorded;
mod spans;
mod trace;

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, registry::LookupSpan};

pub(crate) use self::trace::Trace;
use self::{recorded::Recording, spans::EnteredSpans};
use super::{
    Thermograph,
    capture::{CaptureError, Pace, Turns, Window, is_of_the_program},
    gate::Gate,
};

/// The recorder of timelines.
#[derive(Debug)]
pub(crate) struct Timeline {
    turns: Turns,
    /// Lets the program's spans through while a timeline is recorded.
    gate: Gate,
    has_layer: AtomicBool,
}

/// How often it is looked for threads that have come.
const LOOK: Duration = Duration::from_millis(20);

impl Timeline {
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        self.has_layer.store(true, Relaxed);
        EnteredSpans.with_filter(self.gate.clone())
    }

    pub(crate) async fn record(
        thermograph: &Thermograph,
        window: Window,
    ) -> Result<Trace, CaptureError> {
        let turn = thermograph.inner.timeline.turns.take(window).await?;
        let thermograph = thermograph.clone();
        turn.run(move |turn| {
            let Some(mut recording) = Recording::begin() else {
                return Err(CaptureError::Elsewhere);
            };
            let timeline = &thermograph.inner.timeline;
            let spans = timeline.gate.hold();
            let pace = Pace::of(turn);
            while pace.wait(LOOK)?.is_some() {
                recording.look();
            }
            drop(spans);
            Ok(Trace::of(&thermograph, &recording.end(), timeline.has_layer.load(Relaxed)))
        })
        .await
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            turns: Turns::default(),
            gate: Gate::new(is_of_the_program, LevelFilter::DEBUG),
            has_layer: AtomicBool::new(false),
        }
    }
}
