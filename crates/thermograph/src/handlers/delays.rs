//! Whom stalls delayed, and by how much: sums for each pair of handlers.
//!
//! The watchdog writes, and reports read: no worker comes here.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::handler::{ByPlace, Handler};

/// Sums for each pair of handlers.
#[derive(Debug, Default)]
pub(crate) struct Delays(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    pairs: HashMap<(ByPlace, ByPlace), Delay>,
    /// Of pairs past the bound.
    unlisted: Delay,
}

/// How often and how long one handler waited for stalls of another one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delay {
    /// Requests and polls that waited.
    pub(crate) waits: u64,
    pub(crate) length: Duration,
}

/// The sums at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delayed {
    /// Who waited, and for whom.
    pub(crate) pairs: Vec<(ByPlace, ByPlace, Delay)>,
    pub(crate) unlisted: Duration,
}

impl Delays {
    /// Most pairs that are told apart.
    const MOST: usize = 1024;

    /// A request or a task of `waited` waited so long while a stall of `held` lasted.
    pub(crate) fn add(&self, waited: &'static Handler, held: &'static Handler, length: Duration) {
        let mut sums = self.sums();
        let Sums { pairs, unlisted } = &mut *sums;
        let (is_full, pair) = (pairs.len() >= Self::MOST, (ByPlace(waited), ByPlace(held)));
        let delay = match pairs.get_mut(&pair) {
            Some(delay) => delay,
            None if is_full => unlisted,
            None => pairs.entry(pair).or_default(),
        };
        delay.waits += 1;
        delay.length += length;
    }

    pub(crate) fn now(&self) -> Delayed {
        let sums = self.sums();
        let pairs = sums.pairs.iter().map(|((waited, held), delay)| (*waited, *held, *delay));
        Delayed { pairs: pairs.collect(), unlisted: sums.unlisted.length }
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delayed {
    /// What was added since an earlier look.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let old = earlier.pairs.iter().map(|(waited, held, delay)| ((*waited, *held), *delay));
        let old: HashMap<_, _> = old.collect();
        let pairs = self.pairs.iter().map(|(waited, held, delay)| {
            let before = old.get(&(*waited, *held)).copied().unwrap_or_default();
            let delay = Delay {
                waits: delay.waits.saturating_sub(before.waits),
                length: delay.length.saturating_sub(before.length),
            };
            (*waited, *held, delay)
        });
        Self {
            pairs: pairs.filter(|(.., delay)| delay.waits > 0).collect(),
            unlisted: self.unlisted.saturating_sub(earlier.unlisted),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::handlers::Ledger;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn delays_are_summed_by_pair_and_past_the_bound_together() {
        let ledger = Ledger::leak(Delays::MOST + 1);
        let row = |route: &str| ledger.handler(ledger.hint(), &Method::GET, Some(route));
        let (delays, held) = (Delays::default(), row("/held"));
        delays.add(row("/a"), held, MS);
        let earlier = delays.now();
        delays.add(row("/a"), held, 2 * MS);
        let later = delays.now().since(&earlier);
        let [(waited, by, delay)] = later.pairs[..] else { panic!("{later:?}") };
        assert_eq!((&*waited.0.route, &*by.0.route), ("/a", "/held"));
        assert_eq!((delay.waits, delay.length), (1, 2 * MS));
        assert!(delays.now().since(&delays.now()).pairs.is_empty());
        (0..Delays::MOST).for_each(|n| delays.add(row(&format!("/{n}")), held, MS));
        assert_eq!((delays.now().pairs.len(), delays.now().unlisted), (Delays::MOST, MS));
    }
}
