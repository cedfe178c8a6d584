//! A bound on what is on its way: reserved before the work, given back when it is over.
//!
//! Reserving and checking are one step, so that two requests cannot both take the last place.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Places, of which only so many can be taken.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    places: Arc<Places>,
}

/// Places that were taken; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    places: Arc<Places>,
    taken: usize,
}

#[derive(Debug)]
struct Places {
    bound: usize,
    taken: AtomicUsize,
}

impl Admission {
    pub(crate) fn new(bound: usize) -> Self {
        Self { places: Arc::new(Places { bound, taken: AtomicUsize::new(0) }) }
    }

    /// Takes `wanted` places, or none where that many are not left.
    pub(crate) fn reserve(&self, wanted: usize) -> Option<Reservation> {
        let taken = self.places.take(wanted).then_some(wanted)?;
        Some(Reservation { places: Arc::clone(&self.places), taken })
    }

    /// Places taken now.
    pub(crate) fn taken(&self) -> usize {
        self.places.taken.load(Relaxed)
    }
}

impl Places {
    fn take(&self, wanted: usize) -> bool {
        let more = |taken: usize| taken.checked_add(wanted).filter(|taken| *taken <= self.bound);
        self.taken.fetch_update(Relaxed, Relaxed, more).is_ok()
    }
}

impl Reservation {
    /// Places that were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes further places where it has fewer than `wanted`; false where these are not left.
    pub(crate) fn grow(&mut self, wanted: usize) -> bool {
        let more = wanted.saturating_sub(self.taken);
        let fits = more == 0 || self.places.take(more);
        if fits {
            self.taken += more;
        }
        fits
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(self.taken, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let admission = Admission::new(3);
        let two = admission.reserve(2).expect("fits");
        assert!(admission.reserve(2).is_none());
        assert!(admission.reserve(usize::MAX).is_none());
        assert_eq!(admission.taken(), 2);
        drop(two);
        assert!(admission.reserve(3).is_some());
        assert_eq!(admission.taken(), 0);
    }

    #[test]
    fn what_grows_gives_all_of_it_back() {
        let admission = Admission::new(3);
        let mut one = admission.reserve(0).expect("fits");
        assert!(one.grow(2) && one.grow(1));
        assert!(!one.grow(4));
        assert_eq!((one.taken(), admission.taken()), (2, 2));
        drop(one);
        assert_eq!(admission.taken(), 0);
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let admission = Admission::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let _held = admission.reserve(3);
                        assert!(admission.taken() <= 4);
                    }
                });
            }
        });
        assert_eq!(admission.taken(), 0);
    }
}
