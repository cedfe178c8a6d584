//! CPU time by stack, with the `pprof` crate's sampler.
//!
//! Its limits are the crate's: a thread that sleeps or waits has no samples, and above the
//! kernel's tick (250 Hz as a rule) samples go missing. The unwinder is the default one, since
//! the one by frame pointers loses the leaf. There is one profiler in a process: captures that
//! overlap have its samples at the frequency of the first.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use pprof::{Frames, ProfilerGuard, Symbol, UnresolvedReport};
use thermograph_profile::{Frame, Location, Profile, Sample, ValueType};

use super::super::CaptureError;

/// The crate's profiler, while it is on.
struct Sampling {
    profiler: ProfilerGuard<'static>,
    frequency: u32,
}

pub(super) async fn capture(frequency: u32, duration: Duration) -> Result<Profile, CaptureError> {
    // Starting allocates tens of megabytes: off the async thread, as is the naming below.
    let begin = move || {
        let sampling = Sampling::join(frequency)?;
        let before = sampling.report()?;
        Ok::<_, CaptureError>((sampling, before))
    };
    let (sampling, before) = tokio::task::spawn_blocking(begin).await??;
    let start = SystemTime::now();
    tokio::time::sleep(duration).await;
    let name = move || {
        let taken = since(&before.data, sampling.report()?.data);
        let period = i64::from(1_000_000_000 / sampling.frequency);
        drop(sampling);
        Ok(named(taken, period, start, duration))
    };
    tokio::task::spawn_blocking(name).await?
}

impl Sampling {
    /// The one that is on, or else a new one.
    fn join(frequency: u32) -> Result<Arc<Self>, CaptureError> {
        static ON: Mutex<Weak<Sampling>> = Mutex::new(Weak::new());
        let mut on = ON.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sampling) = on.upgrade() {
            return Ok(sampling);
        }
        let profiler = ProfilerGuard::new(frequency.try_into().unwrap_or(i32::MAX))?;
        let sampling = Arc::new(Self { profiler, frequency });
        *on = Arc::downgrade(&sampling);
        Ok(sampling)
    }

    /// How often each stack was seen since the profiler was started.
    fn report(&self) -> Result<UnresolvedReport, CaptureError> {
        Ok(self.profiler.report().build_unresolved()?)
    }
}

/// What was counted after `before`.
fn since<Stack: Eq + Hash>(
    before: &HashMap<Stack, isize>,
    mut counts: HashMap<Stack, isize>,
) -> HashMap<Stack, isize> {
    counts.retain(|stack, count| {
        *count -= before.get(stack).copied().unwrap_or_default();
        *count > 0
    });
    counts
}

fn named<Stack: Into<Frames>>(
    taken: HashMap<Stack, isize>,
    period: i64,
    start: SystemTime,
    duration: Duration,
) -> Profile {
    let sample = |frames: Frames, count: isize| {
        let count = count as i64;
        let labels = vec![("thread", frames.thread_name_or_id())];
        Sample { stack: stack(&frames), values: vec![count, count * period], labels }
    };
    let cpu = ValueType { kind: "cpu", unit: "nanoseconds" };
    Profile {
        values: vec![ValueType { kind: "samples", unit: "count" }, cpu],
        samples: taken.into_iter().map(|(frames, count)| sample(frames.into(), count)).collect(),
        start,
        duration,
        period: Some((cpu, period)),
        dropped: 0,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_what_was_counted_in_it() {
        let before = HashMap::from([("a", 5), ("b", 7)]);
        let after = HashMap::from([("a", 9), ("b", 7), ("c", 2)]);
        assert_eq!(since(&before, after), HashMap::from([("a", 4), ("c", 2)]));
    }
}
