//! CPU time by stack, with the `pprof` crate's sampler.
//!
//! Its limits are the crate's: a thread that sleeps or waits has no samples, and above the
//! kernel's tick (250 Hz as a rule) samples go missing. The unwinder is the default one, since
//! the one by frame pointers loses the leaf.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use pprof::{Frames, ProfilerGuard, Symbol};

use super::super::{CaptureError, turn::Turn};
use crate::diagnostics::profile::{Frame, Location, Profile, Sample, ValueType};

pub(crate) async fn capture(
    turn: Turn,
    frequency: u32,
    duration: Duration,
) -> Result<Profile, CaptureError> {
    let start = SystemTime::now();
    // Starting allocates tens of megabytes: off the async thread, as is the naming below.
    let hertz = frequency.try_into().unwrap_or(i32::MAX);
    let sampling = tokio::task::spawn_blocking(move || ProfilerGuard::new(hertz)).await??;
    turn.wait().await?;
    let window = Taken { sampling, turn, frequency, start, duration };
    tokio::task::spawn_blocking(|| window.name()).await?
}

/// A window that has passed, its stacks not yet named.
struct Taken {
    sampling: ProfilerGuard<'static>,
    turn: Turn,
    frequency: u32,
    start: SystemTime,
    duration: Duration,
}

impl Taken {
    fn name(self) -> Result<Profile, CaptureError> {
        let Self { sampling, turn, frequency, start, duration } = self;
        let taken = sampling.report().build_unresolved();
        drop((sampling, turn));

        let period = i64::from(1_000_000_000 / frequency);
        let sample = |frames: Frames, count: isize| {
            let count = count as i64;
            let labels = vec![("thread", frames.thread_name_or_id())];
            Sample { stack: stack(&frames), values: vec![count, count * period], labels }
        };
        let taken = taken?.data.into_iter();
        let cpu = ValueType { kind: "cpu", unit: "nanoseconds" };
        Ok(Profile {
            values: vec![ValueType { kind: "samples", unit: "count" }, cpu],
            samples: taken.map(|(frames, count)| sample(frames.into(), count)).collect(),
            start,
            duration,
            period: Some((cpu, period)),
            dropped: 0,
        })
    }
}

/// Where a stack stood, the leaf first.
fn stack(frames: &Frames) -> Vec<Arc<Location>> {
    frames.frames.iter().map(|symbols| Arc::new(location(symbols))).collect()
}

/// What the crate has seen at one address, which it does not tell: it counts stacks by function.
fn location(symbols: &[Symbol]) -> Location {
    let named = symbols.iter().filter(|symbol| symbol.name.is_some());
    let frames = named.map(|symbol| Arc::new(frame(symbol))).collect();
    Location { address: 0, mapping: None, frames }
}

fn frame(symbol: &Symbol) -> Frame {
    Frame {
        name: symbol.name(),
        linkage: symbol.sys_name().into_owned(),
        file: symbol.filename.as_deref().map(|file| file.display().to_string()).unwrap_or_default(),
        line: symbol.lineno(),
    }
}
