//! What a threshold may be.

use std::{ops::RangeInclusive, time::Duration};

/// Below, the watchdog would look a thousand times a second; above, it would see nothing.
pub(crate) const THRESHOLD: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(10);
