//! A set of numbers, of which the lowest is taken: no lock, no allocation after the start.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};

/// Numbers from 0 up to a bound, a bit each.
#[derive(Debug)]
pub(super) struct Numbers {
    words: Box<[AtomicU64]>,
}

impl Numbers {
    /// None of so many numbers.
    pub(super) fn none(count: usize) -> Self {
        Self { words: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// All of so many numbers.
    pub(super) fn all(count: usize) -> Self {
        let this = Self::none(count);
        (0..count).for_each(|number| this.put(number));
        this
    }

    pub(super) fn put(&self, number: usize) {
        self.words[number / 64].fetch_or(bit(number), AcqRel);
    }

    /// Takes the lowest out. Where others put some in meanwhile, it may see none.
    pub(super) fn take(&self) -> Option<usize> {
        let without_lowest = |bits: u64| (bits != 0).then(|| bits & (bits - 1));
        self.words.iter().enumerate().find_map(|(place, word)| {
            let bits = word.fetch_update(AcqRel, Acquire, without_lowest).ok()?;
            Some(place * 64 + bits.trailing_zeros() as usize)
        })
    }

    /// Takes this one out, if it is in.
    pub(super) fn take_this(&self, number: usize) -> bool {
        let (word, bit) = (&self.words[number / 64], bit(number));
        word.load(Acquire) & bit != 0 && word.fetch_and(!bit, AcqRel) & bit != 0
    }
}

fn bit(number: usize) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Mutex, thread};

    use super::*;

    #[test]
    fn the_lowest_is_taken() {
        let numbers = Numbers::none(130);
        assert_eq!(numbers.take(), None);
        for number in [129, 64, 3] {
            numbers.put(number);
        }
        assert!(numbers.take_this(64) && !numbers.take_this(64));
        let taken: Vec<_> = std::iter::from_fn(|| numbers.take()).collect();
        assert_eq!(taken, [3, 129]);
        let all = Numbers::all(65);
        assert_eq!(
            std::iter::from_fn(|| all.take()).collect::<Vec<_>>(),
            (0..65).collect::<Vec<_>>()
        );
    }

    #[test]
    fn nobody_has_the_same_as_another() {
        let (numbers, held) = (Numbers::all(70), Mutex::new(BTreeSet::new()));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let number = numbers.take().expect("there are more than threads");
                        assert!(held.lock().expect("held").insert(number));
                        assert!(held.lock().expect("held").remove(&number));
                        numbers.put(number);
                    }
                });
            }
        });
        assert_eq!(std::iter::from_fn(|| numbers.take()).count(), 70);
    }
}
