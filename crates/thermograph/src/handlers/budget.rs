//! How much tokio-console is shown: while one is attached, at most so many a second.

use std::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};

use thermograph_sampler::Moment;

/// A bucket of rows, which fills evenly.
///
/// A row is dear: the console's tables take 50 KiB for it. So there is a bound, and what is past it
/// is counted. While nobody is attached, a request reads one number here.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Consoles that are attached.
    attached: AtomicUsize,
    per_second: AtomicU32,
    /// What fits into the bucket, as the nanoseconds that it takes to fill: so many come at once and
    /// find a row each.
    depth: u64,
    /// When the bucket is full again, in nanoseconds after `since`: earlier than now where it is.
    full_at: AtomicU64,
    since: Moment,
    /// Those that found it empty.
    refused: AtomicU64,
}

/// A console is attached until this is dropped.
#[derive(Debug)]
pub(crate) struct Attached {
    budget: &'static Budget,
}

impl Budget {
    /// Default of [`Config::named_per_second`](crate::Config::named_per_second).
    pub(crate) const PER_SECOND: u32 = 200;
    /// In nanoseconds.
    pub(crate) const SECOND: u64 = 1_000_000_000;

    /// For so many a second; `depth` is the time that the bucket takes to fill, in nanoseconds.
    pub(crate) fn new(per_second: u32, depth: u64) -> Self {
        Self {
            attached: AtomicUsize::new(0),
            per_second: AtomicU32::new(per_second),
            depth,
            full_at: AtomicU64::new(0),
            since: Moment::now(),
            refused: AtomicU64::new(0),
        }
    }

    /// Sets how many rows there are a second.
    pub(crate) fn set(&self, per_second: u32) {
        self.per_second.store(per_second, Relaxed);
    }

    /// From now on requests have rows.
    pub(crate) fn attach(&'static self) -> Attached {
        self.attached.fetch_add(1, AcqRel);
        Attached { budget: self }
    }

    #[inline]
    pub(crate) fn is_attached(&self) -> bool {
        self.attached.load(Relaxed) > 0
    }

    /// Takes a row, if there is one.
    pub(crate) fn take(&self) -> bool {
        let taken = self.take_at(Moment::now().since(self.since));
        if !taken {
            self.refuse();
        }
        taken
    }

    /// Counts what has no row.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// What had no row, while a console was attached.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn take_at(&self, now: u64) -> bool {
        let Some(one) = Self::SECOND.checked_div(self.per_second.load(Relaxed).into()) else {
            return false;
        };
        let take = |full_at: u64| {
            let full_at = full_at.max(now) + one;
            (full_at - now <= self.depth.max(one)).then_some(full_at)
        };
        self.full_at.fetch_update(AcqRel, Acquire, take).is_ok()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.budget.attached.fetch_sub(1, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of those that come each millisecond for a second, five at a time, have a row.
    fn taken(budget: &Budget, second: u64) -> usize {
        let begin = second * Budget::SECOND;
        let come = (0..5_000).map(|number| begin + number / 5 * (Budget::SECOND / 1_000));
        come.filter(|now| budget.take_at(*now)).count()
    }

    #[test]
    fn so_many_a_second_have_a_row_and_a_tenth_of_them_at_once() {
        for per_second in [10, 200, 1_000] {
            let budget = Budget::new(per_second, Budget::SECOND / 10);
            let at_once = (0..5_000).filter(|_| budget.take_at(0)).count();
            assert_eq!(at_once, per_second as usize / 10);
            // What was spent at once is missing afterwards.
            let seconds = [1, 2, 3].map(|second| taken(&budget, second));
            let most = per_second as usize + at_once;
            assert!((per_second as usize..=most).contains(&seconds[0]), "{seconds:?}");
            assert_eq!(seconds[1..], [per_second as usize; 2]);
        }
    }

    #[test]
    fn one_a_second_is_one_and_none_is_none() {
        let budget = Budget::new(1, Budget::SECOND / 10);
        assert_eq!([1, 2, 3].map(|second| taken(&budget, second)), [1; 3]);
        budget.set(0);
        assert_eq!(taken(&budget, 10), 0);
        assert!(!budget.take());
        assert_eq!(budget.refused(), 1);
    }

    #[test]
    fn threads_do_not_get_more_together() {
        let budget = Budget::new(200, Budget::SECOND / 10);
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..10_000).filter(|_| budget.take_at(7)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 20);
    }

    #[test]
    fn a_console_is_attached_until_the_last_one_leaves() {
        let budget: &Budget = Box::leak(Box::new(Budget::new(200, 0)));
        let first = budget.attach();
        let second = budget.attach();
        drop(first);
        assert!(budget.is_attached());
        drop(second);
        assert!(!budget.is_attached());
    }
}
