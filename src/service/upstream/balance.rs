//! Who of a model's upstreams is asked.
//!
//! Of two taken by chance, the one that costs less: how long it takes to answer, for each request
//! that it has ("power of two choices" by "peak EWMA"). Nobody looks at all of them, so that not
//! everybody sends to the one that was best a moment ago.

use twox_hash::XxHash3_64;

use super::{Route, pool::Busy, table::Member};

/// Upstreams that were asked already for a request, by their place; members first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked(u64);

/// Who is asked.
pub(super) struct Choice<'a> {
    pub(super) member: &'a Member,
    pub(super) busy: Busy,
    place: usize,
}

impl Asked {
    pub(super) fn add(&mut self, choice: &Choice<'_>) {
        self.0 |= 1 << choice.place;
    }

    pub(super) fn has(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }
}

impl Route {
    /// Chooses one and takes its breaker's pass: of those that were not asked yet if there is one,
    /// else of all. With a `key`, requests of the same one go to the same upstream as long as that
    /// is available.
    pub(super) fn choose(&self, asked: Asked, key: Option<u64>) -> Option<Choice<'_>> {
        self.choose_of(asked, key).or_else(|| self.choose_of(Asked::default(), key))
    }

    /// As [`Route::choose`], but nobody twice.
    pub(super) fn choose_another(&self, asked: Asked) -> Option<Choice<'_>> {
        self.choose_of(asked, None)
    }

    fn choose_of(&self, asked: Asked, key: Option<u64>) -> Option<Choice<'_>> {
        let mut left = self.left(asked, |member| member.upstream.is_available());
        while left != 0 {
            let place = match key {
                Some(key) => self.nearest(left, key),
                None => self.cheaper_of_two(left),
            };
            if let Some(choice) = self.enter(place) {
                return Some(choice);
            }
            // Somebody else is the one who tries it.
            left &= !(1 << place);
        }
        let fallbacks = self.members.len()..self.members.len() + self.fallbacks.len();
        let fallback = fallbacks
            .filter(|place| !asked.has(*place) && self.member(*place).upstream.is_available())
            .find_map(|place| self.enter(place));
        // Better somebody of whom we think badly than nobody.
        fallback.or_else(|| {
            let left = self.left(asked, |member| !member.upstream.is_well());
            bits(left).find_map(|place| self.enter(place))
        })
    }

    fn enter(&self, place: usize) -> Option<Choice<'_>> {
        let member = self.member(place);
        Some(Choice { member, busy: member.upstream.enter()?, place })
    }

    fn member(&self, place: usize) -> &Member {
        match place.checked_sub(self.members.len()) {
            None => &self.members[place],
            Some(place) => &self.fallbacks[place],
        }
    }

    /// The members that may be chosen, a bit for each.
    fn left(&self, asked: Asked, may_be: impl Fn(&Member) -> bool) -> u64 {
        let places = (0..self.members.len())
            .filter(|place| !asked.has(*place) && may_be(&self.members[*place]));
        places.fold(0, |left, place| left | 1 << place)
    }

    fn cheaper_of_two(&self, left: u64) -> usize {
        let count = left.count_ones();
        let first = nth(left, fastrand::u32(..count));
        if count == 1 {
            return first;
        }
        let second = nth(left & !(1 << first), fastrand::u32(..count - 1));
        let seconds = |place: usize| self.members[place].upstream.seconds();
        // Who was never asked counts as the other: only how many each has, decides.
        let typical = seconds(first).or(seconds(second)).unwrap_or(1.0);
        let cost = |place: usize| {
            let Member { upstream, weight, .. } = &self.members[place];
            upstream.cost(*weight, typical)
        };
        if cost(second) < cost(first) { second } else { first }
    }

    /// Rendezvous hashing: who has the highest score for the key. Where an upstream comes or goes,
    /// only its own keys move.
    fn nearest(&self, left: u64, key: u64) -> usize {
        let score = |place: usize| {
            let Member { upstream, weight, .. } = &self.members[place];
            let hash = XxHash3_64::oneshot_with_seed(key, upstream.name().as_bytes());
            // Evenly between 0 and 1; by the weight, an upstream's share of keys is its share of
            // the weights.
            let chance = (hash as f64 + 1.0) / (u64::MAX as f64 + 2.0);
            -weight / chance.ln()
        };
        bits(left).max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap_or_default()
    }
}

/// The places of the bits that are set.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = set.trailing_zeros() as usize;
        (set != 0).then(|| {
            set &= set - 1;
            place
        })
    })
}

/// The place of the nth bit that is set, from 0.
fn nth(set: u64, n: u32) -> usize {
    bits(set).nth(n as usize).unwrap_or_default()
}
