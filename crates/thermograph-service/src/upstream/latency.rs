//! How long an upstream takes to answer: a moving average that goes up at once and down slowly.
//!
//! As in Finagle and Linkerd, "peak EWMA": one slow answer counts at once, a fast one bit by bit,
//! and with time without any the average decays, so that who was slow is tried again.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::clock;

/// The average and its time in one word: read and written without a lock.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// Milliseconds of the clock, cut to 32 bits, above the bits of an `f32` of seconds; 0 where
    /// nothing was measured yet.
    word: AtomicU64,
}

impl Latency {
    /// After so many milliseconds what was measured counts a third.
    const DECAY: f64 = 10_000.0;

    /// Takes in how long an answer took.
    pub(super) fn observe(&self, took: Duration) {
        self.observe_at(took, clock::now());
    }

    /// What was measured says nothing any more.
    pub(super) fn forget(&self) {
        self.word.store(0, Relaxed);
    }

    /// Takes in how long somebody has waited for an answer, who waits no more.
    pub(super) fn observe_at_least(&self, waited: Duration) {
        if self.seconds().is_none_or(|seconds| waited.as_secs_f64() > seconds) {
            self.observe(waited);
        }
    }

    /// Seconds, or none where nothing was measured yet.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.seconds_at(clock::now())
    }

    fn observe_at(&self, took: Duration, now: u64) {
        let took = took.as_secs_f64();
        // The closure always has a value.
        let _ = self.word.fetch_update(Relaxed, Relaxed, |word| {
            let average = match unpack(word) {
                Some((seconds, then)) if took < seconds => {
                    let weight = fading(then, now);
                    seconds * weight + took * (1.0 - weight)
                }
                _ => took,
            };
            Some(pack(average, now))
        });
    }

    fn seconds_at(&self, now: u64) -> Option<f64> {
        let (seconds, then) = unpack(self.word.load(Relaxed))?;
        Some(seconds * fading(then, now))
    }
}

/// What is left of a measurement, 1 at first.
fn fading(then: u32, now: u64) -> f64 {
    // Wraps after 49 days.
    let age = (now as u32).wrapping_sub(then);
    (-f64::from(age) / Latency::DECAY).exp()
}

fn pack(seconds: f64, now: u64) -> u64 {
    (u64::from(now as u32) << 32) | u64::from((seconds as f32).to_bits())
}

fn unpack(word: u64) -> Option<(f64, u32)> {
    let seconds = f64::from(f32::from_bits(word as u32));
    (word != 0).then_some((seconds, (word >> 32) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_up_at_once_and_down_slowly() {
        let latency = Latency::default();
        assert_eq!(latency.seconds_at(1), None);
        latency.observe_at(Duration::from_millis(10), 1);
        latency.observe_at(Duration::from_millis(500), 2);
        assert!(latency.seconds_at(2).is_some_and(|seconds| (seconds - 0.5).abs() < 1e-6));
        latency.observe_at(Duration::from_millis(10), 102);
        let seconds = latency.seconds_at(102).expect("measured");
        assert!((0.48..0.5).contains(&seconds), "{seconds}");
        // Nobody asked it for a while: it is tried again.
        let later = latency.seconds_at(102 + 30_000).expect("measured");
        assert!(later < 0.03, "{later}");
    }

    #[test]
    fn the_clock_may_wrap() {
        let latency = Latency::default();
        let end = u64::from(u32::MAX);
        latency.observe_at(Duration::from_secs(1), end);
        assert!(latency.seconds_at(end + 100).is_some_and(|seconds| seconds > 0.9));
    }
}
