//! Who of a model's upstreams is asked.
//!
//! Of two taken by chance and by weight, the one that costs less: how long it takes to answer, for
//! each request that it has ("power of two choices" by "peak EWMA"). Nobody looks at all of them, so that not
//! everybody sends to the one that was best a moment ago.

use twox_hash::XxHash3_64;

use super::{Route, one::Busy, table::Member};

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
                // Who failed costs too much to be chosen, and would never be tried.
                None => self.on_trial(left).unwrap_or_else(|| self.cheaper_of_two(left)),
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

    fn on_trial(&self, left: u64) -> Option<usize> {
        bits(left).find(|place| self.members[*place].upstream.wants_trial())
    }

    /// Of two taken by chance, and by their weights, the one that costs less.
    fn cheaper_of_two(&self, left: u64) -> usize {
        let first = self.by_weight(left);
        let others = left & !(1 << first);
        if others == 0 {
            return first;
        }
        let second = self.by_weight(others);
        let (one, other) = (&self.members[first], &self.members[second]);
        let ratio = match (one.upstream.seconds(), other.upstream.seconds()) {
            (Some(one), Some(other)) => one / other,
            // Who was never asked counts as the other: only how many each has, decides.
            _ => 1.0,
        };
        // Less than this is chance, which must not count for more than the weights.
        let ratio = if (0.5..=2.0).contains(&ratio) { 1.0 } else { ratio };
        // As if both had the same weight: the mean of theirs.
        let mean = f64::midpoint(one.weight, other.weight);
        let load =
            |member: &Member| 1.0 + member.upstream.in_flight() as f64 * mean / member.weight;
        if load(other) < load(one) * ratio { second } else { first }
    }

    /// One of these, by chance: each as often as it weighs.
    fn by_weight(&self, left: u64) -> usize {
        let weight = |place: usize| self.members[place].weight;
        let mut rest = fastrand::f64() * bits(left).map(weight).sum::<f64>();
        let found = bits(left).find(|place| {
            rest -= weight(*place);
            rest < 0.0
        });
        // The last one, where rounding has taken its part.
        found.or_else(|| bits(left).last()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use super::*;
    use crate::upstream::{
        GatewayConfig, MemberConfig, RouteConfig, Upstream, UpstreamConfig, failure::Cause,
        table::Table,
    };

    /// A model on these upstreams, by their weights.
    fn route(members: &[(&str, u32)], fallbacks: &[&str]) -> Arc<Route> {
        let member = |(name, weight): (&str, u32)| MemberConfig {
            name: name.to_owned(),
            weight,
            rename: None,
        };
        let config = RouteConfig {
            upstreams: members.iter().copied().map(member).collect(),
            fallbacks: fallbacks.iter().map(|name| member((name, 1))).collect(),
            rename: None,
            sticky: None,
            hedge_after: None,
        };
        let names = members.iter().map(|(name, _)| *name).chain(fallbacks.iter().copied());
        let upstream = |name: &str| {
            let config = UpstreamConfig::new("http://127.0.0.1:1");
            let upstream = Upstream::new(name, &config, &GatewayConfig::default());
            (name.to_owned(), Arc::new(upstream.expect("an upstream")))
        };
        let upstreams = names.map(upstream).collect();
        let models = BTreeMap::from([("m".to_owned(), config)]);
        Arc::clone(&Table::new(upstreams, &models, &Table::default()).routes["m"])
    }

    fn name(choice: Option<Choice<'_>>) -> Option<String> {
        choice.map(|choice| choice.member.upstream.name().to_owned())
    }

    fn broken() -> Cause {
        Cause::Broken("on purpose".to_owned())
    }

    /// Opens the breaker of the first member.
    fn open_first(route: &Route) {
        for _ in 0..5 {
            let mut busy = route.members[0].upstream.enter().expect("closed");
            busy.failed(&broken(), Duration::ZERO);
        }
    }

    #[test]
    fn by_weights_those_on_their_way_are_shared() {
        let route = route(&[("a", 1), ("b", 3)], &[]);
        let held: Vec<_> = (0..400).filter_map(|_| route.choose(Asked::default(), None)).collect();
        let of_b = held.iter().filter(|choice| choice.member.upstream.name() == "b").count();
        assert!((290..=310).contains(&of_b), "{of_b}");
    }

    #[test]
    fn by_weights_requests_are_shared_that_come_one_by_one() {
        let route = route(&[("a", 100), ("b", 300)], &[]);
        let of_b = (0..400).filter(|turn| {
            let mut choice = route.choose(Asked::default(), None).expect("one");
            // One is not always as fast as the other.
            choice.busy.began(Duration::from_millis(10 + turn % 5));
            choice.busy.ended();
            choice.member.upstream.name() == "b"
        });
        let of_b = of_b.count();
        assert!((250..=350).contains(&of_b), "{of_b}");
    }

    #[test]
    fn who_is_slow_gets_less() {
        let route = route(&[("slow", 1), ("fast", 1)], &[]);
        for (member, millis) in route.members.iter().zip([100, 10]) {
            let mut busy = member.upstream.enter().expect("closed");
            busy.began(Duration::from_millis(millis));
            busy.ended();
        }
        let held: Vec<_> = (0..110).filter_map(|_| route.choose(Asked::default(), None)).collect();
        let of_slow = held.iter().filter(|choice| choice.member.upstream.name() == "slow").count();
        assert!((5..=15).contains(&of_slow), "{of_slow}");
    }

    #[test]
    fn an_open_breaker_is_passed_by_and_fallbacks_come_in_order() {
        let route = route(&[("a", 1)], &["b", "c"]);
        assert_eq!(name(route.choose(Asked::default(), None)).as_deref(), Some("a"));
        open_first(&route);
        let mut asked = Asked::default();
        for expected in ["b", "c"] {
            let choice = route.choose_another(asked).expect("another");
            assert_eq!(choice.member.upstream.name(), expected);
            asked.add(&choice);
        }
        assert!(route.choose_another(asked).is_none());
        assert!(!route.has_another(asked));
        assert!(!route.members[0].upstream.back_in().is_zero());
        // Nobody new is left, and so one of those that are there is asked again.
        assert_eq!(name(route.choose(asked, None)).as_deref(), Some("b"));
    }

    #[test]
    fn the_unwell_are_asked_last() {
        let route = route(&[("a", 1), ("b", 1)], &[]);
        route.members[0].upstream.set_unwell("gone");
        for _ in 0..10 {
            assert_eq!(name(route.choose(Asked::default(), None)).as_deref(), Some("b"));
        }
        route.members[1].upstream.set_unwell("gone");
        assert!(route.choose(Asked::default(), None).is_some());
    }

    #[test]
    fn a_key_stays_where_it_is_and_only_those_of_the_lost_move() {
        let route = route(&[("a", 1), ("b", 1), ("c", 2)], &[]);
        let place = |key| name(route.choose(Asked::default(), Some(key))).expect("one");
        let before: Vec<_> = (0..400).map(place).collect();
        assert_eq!(before, (0..400).map(place).collect::<Vec<_>>());
        let share = |name: &str| before.iter().filter(|place| *place == name).count();
        assert!(
            (70..=130).contains(&share("a")) && (165..=235).contains(&share("c")),
            "{before:?}"
        );
        open_first(&route);
        for (key, before) in (0..400).zip(&before) {
            let now = place(key);
            assert!(now != "a" && (before == "a" || now == *before), "{key}: {before} {now}");
        }
    }
}
