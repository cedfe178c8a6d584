//! A distribution of durations that threads add to without waiting.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use histogram::{Config, Histogram};

/// A counter with one writer, or with several.
///
/// With one, an addition is a load and a store, which costs a fifth of an atomic addition.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

/// A distribution of durations in nanoseconds, their sum, and the largest.
pub(crate) struct Timings {
    buckets: Box<[Counter]>,
    sum: Counter,
    max: AtomicU64,
}

/// What [`Timings`] of several threads hold together.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub(crate) histogram: Histogram,
    pub(crate) sum_ns: u64,
    pub(crate) max_ns: u64,
}

/// Buckets of at most 1/16 of their value, so that a quantile is right within 6.25 %.
const GROUPING_POWER: u8 = 4;
/// Up to 2^40 ns, about 18 minutes; what is longer counts as that.
const MAX_VALUE_POWER: u8 = 40;

const CONFIG: Config = match Config::new(GROUPING_POWER, MAX_VALUE_POWER) {
    Ok(config) => config,
    Err(_) => panic!("the powers are in range"),
};

impl Counter {
    /// Adds; `alone` says that no other thread adds to this one.
    #[inline]
    pub(crate) fn add(&self, count: u64, alone: bool) {
        if alone {
            self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
        } else {
            self.add_beside_others(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_beside_others(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Timings {
    pub(crate) fn new() -> Self {
        let buckets = (0..CONFIG.total_buckets()).map(|_| Counter::default()).collect();
        Self { buckets, sum: Counter::default(), max: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn record(&self, ns: u64, alone: bool) {
        // There is a bucket for every value up to the largest.
        if let Some(bucket) = self.buckets.get(bucket_of(ns)) {
            bucket.add(1, alone);
        }
        self.sum.add(ns, alone);
        // A load first: most values are not the largest.
        if ns > self.max.load(Relaxed) {
            self.raise_max(ns);
        }
    }

    #[cold]
    #[inline(never)]
    fn raise_max(&self, ns: u64) {
        self.max.fetch_max(ns, Relaxed);
    }

    /// All durations added up, in nanoseconds.
    pub(crate) fn sum_ns(&self) -> u64 {
        self.sum.get()
    }
}

impl Totals {
    pub(crate) fn of<'a>(all: impl Iterator<Item = &'a Timings>) -> Self {
        let mut totals = Self { histogram: Histogram::with_config(&CONFIG), sum_ns: 0, max_ns: 0 };
        for timings in all {
            let buckets = totals.histogram.as_mut_slice().iter_mut().zip(&timings.buckets);
            buckets.for_each(|(total, bucket)| *total += bucket.get());
            totals.sum_ns += timings.sum_ns();
            totals.max_ns = totals.max_ns.max(timings.max.load(Relaxed));
        }
        totals
    }
}

/// The bucket of a value, as [`Histogram`] has it: one for each value at first, then 16 for each
/// power of two.
#[inline]
pub(crate) fn bucket_of(value: u64) -> usize {
    const EACH: u64 = 1 << GROUPING_POWER;
    let value = value.min((1 << MAX_VALUE_POWER) - 1);
    if value < 2 * EACH {
        return value as usize;
    }
    let shift = value.ilog2() - u32::from(GROUPING_POWER);
    (u64::from(shift) * EACH + (value >> shift)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_histogram() {
        let around = |power: u32| [(1_u64 << power) - 1, 1 << power, (1 << power) + 1];
        let values = (0..40).flat_map(around).chain([1000, 123_456_789, u64::MAX]);
        for value in values {
            let timings = Timings::new();
            timings.record(value, true);
            let mut expected = Histogram::with_config(&CONFIG);
            expected.increment(value.min((1 << MAX_VALUE_POWER) - 1)).expect("in range");
            assert_eq!(Totals::of([&timings].into_iter()).histogram, expected, "{value}");
        }
    }

    #[test]
    fn threads_that_share_lose_nothing() {
        let timings = Timings::new();
        std::thread::scope(|scope| {
            for ns in 1..=4 {
                let timings = &timings;
                scope.spawn(move || (0..10_000).for_each(|_| timings.record(ns, false)));
            }
        });
        let totals = Totals::of([&timings].into_iter());
        assert_eq!(totals.histogram.as_slice()[1..=4], [10_000; 4]);
        assert_eq!((totals.sum_ns, totals.max_ns), (100_000, 4));
    }

    #[test]
    fn totals_add_up() {
        let (one, other) = (Timings::new(), Timings::new());
        one.record(7, true);
        other.record(7, true);
        other.record(1000, true);
        let totals = Totals::of([&one, &other].into_iter());
        assert_eq!((totals.sum_ns, totals.max_ns), (1014, 1000));
        assert_eq!(totals.histogram.as_slice()[7], 2);
    }
}
