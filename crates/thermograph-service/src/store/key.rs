//! A key as requests meet it: what it may do, and what it has used this month.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::KeyInfo;

/// A key that was looked up.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) info: KeyInfo,
    /// None where nobody bounds it.
    spent: Option<Arc<Spent>>,
}

/// Tokens of one key in a month of UTC: what the database said, and what was used here since.
#[derive(Debug, Default)]
pub(super) struct Spent {
    /// The month in the upper 16 bits, the tokens in the others: they change together.
    both: AtomicU64,
}

/// A month of UTC, counted from the year 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Month(u64);

const TOKENS: u32 = 48;
const MOST_TOKENS: u64 = (1 << TOKENS) - 1;

impl Key {
    pub(super) fn new(info: KeyInfo, spent: Option<Arc<Spent>>) -> Self {
        Self { info, spent }
    }

    /// Whether the tokens of this month are used up.
    pub(crate) fn has_spent_all(&self, now: Timestamp) -> bool {
        let (Some(most), Some(spent)) = (self.info.monthly_tokens, &self.spent) else {
            return false;
        };
        spent.of(Month::of(now)) >= most
    }

    /// Notes what a request has used.
    pub(super) fn spend(&self, now: Timestamp, tokens: u64) {
        if let Some(spent) = &self.spent {
            spent.add(Month::of(now), tokens);
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.info.id)
    }
}

impl Month {
    pub(super) fn of(time: Timestamp) -> Self {
        let date = TimeZone::UTC.to_datetime(time);
        let (year, month) = (i64::from(date.year()), i64::from(date.month()));
        // Before the year 0 there were no tokens.
        Self(u64::try_from(year * 12 + month - 1).unwrap_or_default())
    }

    /// When it began, in milliseconds since 1970.
    pub(super) fn start(self) -> i64 {
        let year = i16::try_from(self.0 / 12).unwrap_or(i16::MAX);
        let month = i8::try_from(self.0 % 12 + 1).unwrap_or(1);
        let first = Date::new(year, month, 1).map(|date| date.at(0, 0, 0, 0));
        let first = first.and_then(|first| TimeZone::UTC.to_timestamp(first));
        first.map_or(0, Timestamp::as_millisecond)
    }
}

impl Spent {
    fn of(&self, month: Month) -> u64 {
        let both = self.both.load(Relaxed);
        if both >> TOKENS == month.0 { both & MOST_TOKENS } else { 0 }
    }

    fn add(&self, month: Month, tokens: u64) {
        self.update(month, |before| before.saturating_add(tokens));
    }

    /// What the database says: it lags behind this process, and knows of others.
    pub(super) fn at_least(&self, month: Month, tokens: u64) {
        self.update(month, |before| before.max(tokens));
    }

    fn update(&self, month: Month, change: impl Fn(u64) -> u64) {
        let update = |both: u64| {
            let before = if both >> TOKENS == month.0 { both & MOST_TOKENS } else { 0 };
            // A request of last month that ends now is one of this month.
            (both >> TOKENS <= month.0).then(|| month.0 << TOKENS | change(before).min(MOST_TOKENS))
        };
        // One of a month before is not counted any more.
        let _ = self.both.fetch_update(Relaxed, Relaxed, update);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(text: &str) -> Month {
        Month::of(text.parse().expect("a time"))
    }

    #[test]
    fn months_are_those_of_utc() {
        let november = month("2026-11-30T23:59:59.999Z");
        assert_eq!(november, month("2026-11-01T00:00:00Z"));
        assert_ne!(november, month("2026-12-01T00:00:00Z"));
        let start: Timestamp = "2026-11-01T00:00:00Z".parse().expect("a time");
        assert_eq!(november.start(), start.as_millisecond());
        assert_eq!(month("2026-12-31T00:00:00Z").start(), month("2026-12-01T00:00:00Z").start());
    }

    #[test]
    fn a_month_begins_with_nothing_and_the_database_only_adds() {
        let (november, december) = (month("2026-11-26T00:00:00Z"), month("2026-12-01T00:00:00Z"));
        let spent = Spent::default();
        spent.add(november, 10);
        spent.at_least(november, 7);
        assert_eq!(spent.of(november), 10);
        spent.at_least(november, 30);
        assert_eq!((spent.of(november), spent.of(december)), (30, 0));
        spent.add(december, 1);
        spent.add(november, 5);
        assert_eq!((spent.of(november), spent.of(december)), (0, 1));
        spent.add(december, u64::MAX);
        assert_eq!(spent.of(december), MOST_TOKENS);
    }
}
