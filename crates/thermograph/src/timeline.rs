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
mod trace;

use std::time::Duration;

use self::recorded::Recording;
pub(crate) use self::trace::Trace;
use crate::{
    capture::{CaptureError, Pace, Window},
    instance::Instance,
};

/// How often it is looked for threads that have come.
const LOOK: Duration = Duration::from_millis(20);

/// Records a window that begins now.
pub(crate) async fn record(instance: &Instance, window: Window) -> Result<Trace, CaptureError> {
    let turn = instance.recorder.turns.take(window).await?;
    let instance = instance.clone();
    turn.run(move |turn| {
        let Some(mut recording) = Recording::begin() else {
            return Err(CaptureError::Elsewhere);
        };
        let recorder = &instance.recorder;
        let spans = recorder.gate.hold();
        let pace = Pace::of(turn);
        while pace.wait(LOOK)?.is_some() {
            recording.look();
        }
        drop(spans);
        Ok(Trace::of(&instance, &recording.end(), recorder.has_layer()))
    })
    .await
}
