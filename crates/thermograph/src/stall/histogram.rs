//! How long stalls were, in the buckets that Prometheus gets.

use std::time::Duration;

/// Lengths, by how many were at most so long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    counts: [u64; BOUNDS.len()],
    pub(crate) count: u64,
    pub(crate) sum: Duration,
}

/// Upper bounds of the buckets, in seconds; the last, without end, is the count.
const BOUNDS: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

impl Durations {
    pub(crate) fn record(&mut self, length: Duration) {
        self.count += 1;
        self.sum += length;
        let seconds = length.as_secs_f64();
        let fits = self.counts.iter_mut().zip(BOUNDS).filter(|(_, bound)| seconds <= *bound);
        fits.for_each(|(count, _)| *count += 1);
    }

    /// Adds one that lasts: which buckets it will be in is not known yet.
    pub(crate) fn lasts(&mut self, length: Duration) {
        self.count += 1;
        self.sum += length;
    }

    /// Upper bounds in seconds, and how many were at most so long.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.into_iter().zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_all_that_are_at_most_so_long() {
        let mut durations = Durations::default();
        for ms in [10, 30, 7_000] {
            durations.record(Duration::from_millis(ms));
        }
        let counts: Vec<_> = durations.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [0, 0, 1, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!((durations.count, durations.sum), (3, Duration::from_millis(7_040)));
    }
}
