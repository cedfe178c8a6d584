//! The time of polls: the processor's own counter where it can be trusted, and the system's clock
//! elsewhere.
//!
//! Differences are scaled to nanoseconds, not readings: that is half of what a reading costs.

use std::{num::NonZeroU64, sync::LazyLock};

use quanta::Clock;

static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::new);

/// A moment, in units of the clock's own; never 0, which stands for no moment.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(NonZeroU64);

impl Moment {
    /// Now. The first look compares the counter with the system's clock, which takes up to 200 ms.
    #[inline]
    pub fn now() -> Self {
        Self::from_raw(CLOCK.raw())
    }

    /// In units of the clock's own.
    #[inline]
    pub fn raw(self) -> u64 {
        self.0.get()
    }

    /// The moment of so many units; of 0 the first one.
    #[inline]
    pub fn from_raw(raw: u64) -> Self {
        Self(NonZeroU64::new(raw).unwrap_or(NonZeroU64::MIN))
    }

    /// Nanoseconds since an earlier moment; none where the clocks of two cores disagree.
    #[inline]
    pub fn since(self, earlier: Self) -> u64 {
        CLOCK.delta_as_nanos(earlier.raw(), self.raw())
    }

    /// A moment at least one nanosecond later than another: waits for it. For tests.
    #[doc(hidden)]
    pub fn after(earlier: Self) -> Self {
        loop {
            let now = Self::now();
            if now.since(earlier) > 0 {
                return now;
            }
        }
    }

    /// Nanoseconds of so many units of the clock's own.
    pub fn units_as_nanos(units: u64) -> u64 {
        CLOCK.delta_as_nanos(0, units)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn it_goes_as_the_system_s_clock_does() {
        let (moment, instant) = (Moment::now(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let (shown, at_least) = (Moment::now().since(moment), Duration::from_millis(20));
        let at_most = instant.elapsed() + Duration::from_millis(1);
        let shown = Duration::from_nanos(shown);
        // Calibrated to a thousandth or so.
        assert!(shown >= at_least.mul_f64(0.99) && shown <= at_most.mul_f64(1.01), "{shown:?}");
        assert_eq!(moment.since(Moment::now()), 0);
    }
}
