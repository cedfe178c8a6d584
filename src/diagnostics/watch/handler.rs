//! One row of the ledger: counters that any thread adds to.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use histogram::AtomicHistogram;
use http::{Method, StatusCode};

/// What one handler has cost since the start.
pub(crate) struct Handler {
    pub(crate) method: Method,
    pub(crate) route: Box<str>,
    pub(crate) counts: Counts,
    /// From the call to the response head.
    pub(crate) head: Timings,
    /// From the call to the end of the body.
    pub(crate) total: Timings,
    /// Single polls, of the handler's future and of its body.
    pub(crate) polls: Timings,
}

/// Requests by where they are and how they ended.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) started: AtomicU64,
    /// By the first digit of the status, 1 to 5.
    pub(crate) by_class: [AtomicU64; 5],
    /// Dropped before the response head: the client left, or a time-out fired.
    pub(crate) cancelled: AtomicU64,
    /// Dropped in the midst of the body.
    pub(crate) cut: AtomicU64,
    pub(crate) ended: AtomicU64,
}

/// A distribution of durations, its sum, and its largest value.
pub(crate) struct Timings {
    histogram: AtomicHistogram,
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Handler {
    pub(crate) fn new(method: Method, route: &str) -> Self {
        Self {
            method,
            route: route.into(),
            counts: Counts::default(),
            head: Timings::new(),
            total: Timings::new(),
            polls: Timings::new(),
        }
    }

    #[inline]
    pub(crate) fn is(&self, method: &Method, route: &str) -> bool {
        self.method == *method && *self.route == *route
    }
}

impl Counts {
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.by_class[class - 1].fetch_add(1, Relaxed);
    }
}

impl Timings {
    /// Buckets of at most 1/16 of their value, so that a quantile is right within 6.25 %.
    pub(crate) const GROUPING_POWER: u8 = 4;
    /// Up to 2^40 ns, about 18 minutes; what is longer counts as that.
    pub(crate) const MAX_VALUE_POWER: u8 = 40;

    #[expect(clippy::expect_used, reason = "the two powers are constants that are in range")]
    fn new() -> Self {
        let histogram = AtomicHistogram::new(Self::GROUPING_POWER, Self::MAX_VALUE_POWER)
            .expect("the powers are in range");
        Self { histogram, sum_ns: AtomicU64::new(0), max_ns: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn record(&self, elapsed: Duration) {
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let longest = (1_u64 << Self::MAX_VALUE_POWER) - 1;
        // Cannot fail: the value is clamped to the histogram's range.
        let _in_range = self.histogram.increment(ns.min(longest));
        self.sum_ns.fetch_add(ns, Relaxed);
        // A load first: most values are not the largest, and a load is not a bus transaction.
        if ns > self.max_ns.load(Relaxed) {
            self.max_ns.fetch_max(ns, Relaxed);
        }
    }

    pub(crate) fn histogram(&self) -> histogram::Histogram {
        self.histogram.load()
    }

    pub(crate) fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Relaxed))
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns.load(Relaxed))
    }
}
