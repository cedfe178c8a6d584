//! How values that were measured over and over lie.

use std::fmt;

/// Values, the smallest first; one at least.
#[derive(Clone, Debug)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Between neighbours where it falls between them.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let Self(values) = self;
        let rank = quantile * (values.len() - 1) as f64;
        let (low, high) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
        low + (high - low) * rank.fract()
    }

    /// Where the median lies, 95 times of 100.
    fn interval(&self) -> [f64; 2] {
        let Self(values) = self;
        // Of the binomial distribution: how far from the middle the median's rank may be.
        let reach = 0.98 * (values.len() as f64).sqrt();
        let middle = values.len() as f64 / 2.0;
        let at = |rank: f64| values[(rank.max(0.0) as usize).min(values.len() - 1)];
        [at((middle - reach).floor()), at((middle + reach).ceil() - 1.0)]
    }
}

/// With as many digits as the format asks for.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        let ([low, high], [first, third]) =
            (self.interval(), [0.25, 0.75].map(|q| self.quantile(q)));
        write!(
            f,
            "95 % interval {low:.digits$} … {high:.digits$}, quartiles {first:.digits$} … \
             {third:.digits$}"
        )
    }
}
