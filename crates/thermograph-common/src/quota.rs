//! A quota of bytes or inputs for all requests together: reserved before the work, released when it is
//! over.
//!
//! Reserving and checking are one step, so that two requests cannot both take the last unit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Units of which only so many can be reserved at a time; cheap to clone, all clones are one.
#[derive(Clone, Debug)]
pub struct Quota {
    shared: Arc<Shared>,
}

/// Units that are reserved; released when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    units: usize,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    reserved: AtomicUsize,
}

impl Quota {
    /// Creates a quota of `limit` units, none of which is reserved.
    pub fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Shared { limit, reserved: AtomicUsize::new(0) }) }
    }

    /// Reserves `wanted` units; `None` if that many are not left.
    pub fn reserve(&self, wanted: usize) -> Option<Reservation> {
        let units = self.shared.reserve(wanted).then_some(wanted)?;
        Some(Reservation { shared: Arc::clone(&self.shared), units })
    }

    /// Number of units that all reservations hold now.
    pub fn reserved(&self) -> usize {
        self.shared.reserved.load(Relaxed)
    }
}

impl Shared {
    fn reserve(&self, wanted: usize) -> bool {
        let add = |reserved: usize| reserved.checked_add(wanted).filter(|sum| *sum <= self.limit);
        self.reserved.fetch_update(Relaxed, Relaxed, add).is_ok()
    }
}

impl Reservation {
    /// Number of units that this reservation holds.
    pub fn reserved(&self) -> usize {
        self.units
    }

    /// Reserves further units if this holds fewer than `wanted`; returns false, and reserves none, if
    /// they are not left.
    pub fn grow(&mut self, wanted: usize) -> bool {
        let more = wanted.saturating_sub(self.units);
        let fits = more == 0 || self.shared.reserve(more);
        if fits {
            self.units += more;
        }
        fits
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.reserved.fetch_sub(self.units, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let quota = Quota::new(3);
        let two = quota.reserve(2).expect("fits");
        assert!(quota.reserve(2).is_none());
        assert!(quota.reserve(usize::MAX).is_none());
        assert_eq!(quota.reserved(), 2);
        drop(two);
        assert!(quota.reserve(3).is_some());
        assert_eq!(quota.reserved(), 0);
    }

    #[test]
    fn what_grows_gives_all_of_it_back() {
        let quota = Quota::new(3);
        let mut one = quota.reserve(0).expect("fits");
        assert!(one.grow(2) && one.grow(1));
        assert!(!one.grow(4));
        assert_eq!((one.reserved(), quota.reserved()), (2, 2));
        drop(one);
        assert_eq!(quota.reserved(), 0);
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let quota = Quota::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let _held = quota.reserve(3);
                        assert!(quota.reserved() <= 4);
                    }
                });
            }
        });
        assert_eq!(quota.reserved(), 0);
    }
}
