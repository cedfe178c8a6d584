//! A bound on requests that are tried again: what fails everywhere is not made worse.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Tries that are left: each request adds a share of one, each try again takes one.
#[derive(Debug)]
pub(super) struct Budget {
    /// In thousandths.
    left: AtomicI64,
    share: i64,
    most: i64,
}

impl Budget {
    const ONE: i64 = 1000;

    pub(super) fn new(share: f64, reserve: u32) -> Self {
        let most = i64::from(reserve) * Self::ONE;
        Self { left: AtomicI64::new(most), share: (share * Self::ONE as f64) as i64, most }
    }

    /// A request has come.
    pub(super) fn deposit(&self) {
        // Full as a rule: then nothing is written, and no cache line moves.
        if self.left.load(Relaxed) < self.most {
            self.left.fetch_add(self.share, Relaxed);
        }
    }

    /// Takes a try, if there is one.
    pub(super) fn withdraw(&self) -> bool {
        self.left
            .fetch_update(Relaxed, Relaxed, |left| Some(left - Self::ONE).filter(|left| *left >= 0))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_a_share_of_requests_beyond_the_reserve() {
        let budget = Budget::new(0.2, 3);
        let taken = |budget: &Budget| (0..100).filter(|_| budget.withdraw()).count();
        assert_eq!(taken(&budget), 3);
        (0..10).for_each(|_| budget.deposit());
        assert_eq!(taken(&budget), 2);
        (0..1000).for_each(|_| budget.deposit());
        assert_eq!(taken(&budget), 3);
        assert_eq!(taken(&Budget::new(0.0, 0)), 0);
    }
}
