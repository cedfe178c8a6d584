//! Time as a number, for what is kept in atomics.

use std::{sync::LazyLock, time::Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the process first asked, and never 0, which stands for never.
pub(crate) fn now() -> u64 {
    1 + u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
}
