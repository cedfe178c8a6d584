//! What came of the requests.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::failure::Failure;

/// Running counts, for who watches a run.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests answered or failed.
    pub done: AtomicU64,
    /// Requests failed.
    pub failed: AtomicU64,
}

/// Failures of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Errors {
    /// How many.
    pub count: u64,
    /// What the first one said.
    pub example: String,
}

/// What came of requests of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Microseconds; of good answers only.
    pub(crate) latency: Histogram<u64>,
    /// Texts in good answers.
    pub(crate) inputs: u64,
    pub(crate) errors: BTreeMap<String, Errors>,
}

impl Counts {
    pub(crate) fn add(&self, failed: bool) {
        self.failed.fetch_add(u64::from(failed), Relaxed);
        self.done.fetch_add(1, Relaxed);
    }

    pub(crate) fn reset(&self) {
        self.done.store(0, Relaxed);
        self.failed.store(0, Relaxed);
    }
}

impl Tally {
    pub(crate) fn record(&mut self, inputs: u64, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        // Longer than an hour counts as an hour.
        self.latency.saturating_record(micros);
        self.inputs += inputs;
    }

    pub(crate) fn fail(&mut self, failure: &Failure) {
        let new = || Errors { count: 0, example: failure.to_string() };
        self.errors.entry(failure.kind()).or_insert_with(new).count += 1;
    }

    pub(crate) fn succeeded(&self) -> u64 {
        self.latency.len()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }

    /// Adds what another has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        // All have the same bounds, so that nothing is out of range.
        let added = self.latency.add(&other.latency);
        debug_assert_eq!(added, Ok(()));
        self.inputs += other.inputs;
        for (kind, errors) in &other.errors {
            let new = || Errors { count: 0, example: errors.example.clone() };
            self.errors.entry(kind.clone()).or_insert_with(new).count += errors.count;
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        const HOUR: u64 = 3_600_000_000;
        let latency = Histogram::new_with_bounds(1, HOUR, 3).expect("1 and an hour are bounds");
        Self { latency, inputs: 0, errors: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_it_has_what_both_have() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.record(1, Duration::from_millis(1));
        one.fail(&Failure::Unsent);
        other.record(8, Duration::from_millis(100));
        other.fail(&Failure::Unsent);
        other.fail(&Failure::Interrupted);
        one.merge(&other);
        assert_eq!((one.succeeded(), one.failed(), one.inputs), (2, 3, 9));
        assert_eq!(one.errors["unsent"].count, 2);
        assert!((1000..=1001).contains(&one.latency.value_at_quantile(0.5)));
        assert!((100_000..=100_100).contains(&one.latency.max()));
    }

    #[test]
    fn nothing_is_too_long_to_count() {
        let mut tally = Tally::default();
        tally.record(0, Duration::from_secs(100_000));
        assert_eq!(tally.succeeded(), 1);
    }
}
