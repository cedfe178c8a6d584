//! Two things measured in turns, and the ratio of one to the other.

use std::time::Duration;

use crate::spread::Spread;

/// How often, and how long each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) pairs: usize,
    pub(crate) length: Duration,
}

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    /// Processor time of the server.
    pub(crate) cpu_seconds: f64,
}

/// A round of each side, made one right after the other.
pub(crate) type Pair = [Sample; 2];

/// The second side over the first.
#[derive(Clone, Debug)]
pub(crate) struct Ratio {
    /// Of the pairs' ratios.
    ratios: Spread,
    /// Ratio of the two sides' medians.
    of_medians: f64,
    /// Median of each side.
    pub(crate) sides: [f64; 2],
}

impl Rounds {
    pub(crate) fn fewer(self) -> Self {
        Self { pairs: (self.pairs / 8).max(3), ..self }
    }

    /// Measures both sides in turns, after a round of each that does not count. Which goes first
    /// changes with every pair, so that what drifts favours neither.
    pub(crate) fn pairs(
        self,
        mut side: impl FnMut(usize, Duration) -> anyhow::Result<Sample>,
    ) -> anyhow::Result<Vec<Pair>> {
        side(0, self.length)?;
        side(1, self.length)?;
        let mut pair = |number: usize| {
            if number.is_multiple_of(2) {
                let first = side(0, self.length)?;
                Ok([first, side(1, self.length)?])
            } else {
                let second = side(1, self.length)?;
                Ok([side(0, self.length)?, second])
            }
        };
        (0..self.pairs).map(&mut pair).collect()
    }
}

impl Sample {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Microseconds of the server's processor time.
    pub(crate) fn cpu_per_request(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.requests as f64
    }

    /// Processors that the server kept busy.
    pub(crate) fn cpus(&self) -> f64 {
        self.cpu_seconds / self.seconds
    }
}

impl Ratio {
    pub(crate) fn of(pairs: &[Pair], value: impl Fn(&Sample) -> f64) -> Self {
        let ratios = Spread::of(pairs.iter().map(|[first, second]| value(second) / value(first)));
        let side = |side: usize| median(pairs, side, &value);
        let sides = [side(0), side(1)];
        Self { ratios, of_medians: sides[1] / sides[0], sides }
    }

    /// Median of the pairs' ratios.
    pub(crate) fn median(&self) -> f64 {
        self.ratios.median()
    }

    /// Its spread, in words.
    pub(crate) fn spread(&self, length: Duration) -> String {
        let Self { ratios, of_medians, .. } = self;
        let pairs = ratios.count();
        format!("{pairs} pairs of {length:?}: {ratios:.3}, ratio of medians {of_medians:.3}")
    }
}

/// Median of one side's rounds.
pub(crate) fn median(pairs: &[Pair], side: usize, value: impl Fn(&Sample) -> f64) -> f64 {
    Spread::of(pairs.iter().map(|pair| value(&pair[side]))).median()
}
