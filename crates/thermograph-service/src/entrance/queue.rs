//! Places and those who wait for them, by caller.

use std::collections::{HashMap, VecDeque};

/// Bounds of a [`Queue`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Most places.
    pub(super) in_flight: usize,
    /// Most places of one caller.
    pub(super) per_caller: usize,
    /// Most requests without a place.
    pub(super) waiting: usize,
}

/// Places, which callers that wait for them are given in turn.
///
/// If there is a free place, then no request waits whose caller may have one more.
#[derive(Debug)]
pub(super) struct Queue<T> {
    bounds: Bounds,
    in_flight: usize,
    waiting: usize,
    /// Callers with requests in flight or waiting, and some of those before.
    callers: HashMap<String, Caller<T>>,
    /// Callers that wait and may have one more place, in the order of their turns.
    turns: VecDeque<String>,
    /// Number of the next request that waits.
    next: u64,
}

#[derive(Debug)]
struct Caller<T> {
    in_flight: usize,
    waiting: VecDeque<(u64, T)>,
    /// True if it is among the turns.
    has_turn: bool,
}

/// Most callers that are remembered; past that, those without a request are forgotten at once.
const REMEMBERED: usize = 1000;

/// Limit that keeps a request from a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bound {
    /// Limit on all requests.
    All,
    /// Limit on the requests of one caller.
    Caller,
}

impl<T> Queue<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            in_flight: 0,
            waiting: 0,
            callers: HashMap::new(),
            turns: VecDeque::new(),
            next: 0,
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes new bounds over: what has a place keeps it, and what waits goes on waiting.
    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        let names: Vec<_> = self.callers.keys().cloned().collect();
        for name in names {
            self.take_turn(&name);
        }
    }

    /// Takes a place, if there is one for this caller.
    pub(super) fn enter(&mut self, name: &str) -> bool {
        if self.in_flight >= self.bounds.in_flight {
            return false;
        }
        match self.callers.get_mut(name) {
            Some(caller) if caller.in_flight >= self.bounds.per_caller => return false,
            Some(caller) => caller.in_flight += 1,
            None => {
                let caller = Caller { in_flight: 1, waiting: VecDeque::new(), has_turn: false };
                self.callers.insert(name.to_owned(), caller);
            }
        }
        self.in_flight += 1;
        true
    }

    /// Queues a request; gives its number. Past the bound, the newest of the caller that has most in the
    /// queue gives way, which comes back; if that is this caller, the request does.
    pub(super) fn wait(&mut self, name: &str, request: T) -> Result<(u64, Option<T>), T> {
        let mut dropped = None;
        if self.waiting >= self.bounds.waiting {
            let own = self.callers.get(name).map_or(0, |caller| caller.waiting.len());
            let longest = self.callers.iter().max_by_key(|(_, caller)| caller.waiting.len());
            let longest = longest.filter(|(_, caller)| caller.waiting.len() > own + 1);
            let Some(longest) = longest.map(|(name, _)| name.clone()) else { return Err(request) };
            let newest = self.callers.get(&longest).and_then(|caller| caller.waiting.back());
            let newest = newest.map(|(number, _)| *number);
            dropped = newest.and_then(|number| self.leave(&longest, number));
        }
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        let none = || Caller { in_flight: 0, waiting: VecDeque::new(), has_turn: false };
        let caller = self.callers.entry(name.to_owned()).or_insert_with(none);
        caller.waiting.push_back((number, request));
        self.take_turn(name);
        Ok((number, dropped))
    }

    /// Takes a request out of the queue, if it is there.
    pub(super) fn leave(&mut self, name: &str, number: u64) -> Option<T> {
        let caller = self.callers.get_mut(name)?;
        // Numbers grow.
        let place = caller.waiting.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let (_, request) = caller.waiting.remove(place)?;
        if caller.waiting.is_empty() && std::mem::take(&mut caller.has_turn) {
            self.turns.retain(|turn| turn != name);
        }
        self.waiting -= 1;
        self.forget_if_idle(name);
        Some(request)
    }

    /// Gives a place back.
    pub(super) fn give_back(&mut self, name: &str) {
        let Some(caller) = self.callers.get_mut(name) else { return };
        caller.in_flight -= 1;
        self.in_flight -= 1;
        if caller.waiting.is_empty() {
            self.forget_if_idle(name);
        } else {
            self.take_turn(name);
        }
    }

    /// Returns whether a request waits.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Takes a place for the request whose turn it is, if there are both.
    pub(super) fn next(&mut self) -> Option<T> {
        while self.in_flight < self.bounds.in_flight {
            let name = self.turns.pop_front()?;
            let per_caller = self.bounds.per_caller;
            let Some(caller) = self.callers.get_mut(&name) else { continue };
            caller.has_turn = false;
            if caller.in_flight >= per_caller {
                continue;
            }
            let Some((_, request)) = caller.waiting.pop_front() else { continue };
            caller.in_flight += 1;
            self.in_flight += 1;
            self.waiting -= 1;
            self.take_turn(&name);
            return Some(request);
        }
        None
    }

    /// The bound that keeps a request of this caller waiting.
    pub(super) fn reached(&self, name: &str) -> Bound {
        let has = self.callers.get(name).map_or(0, |caller| caller.in_flight);
        if has >= self.bounds.per_caller && self.bounds.per_caller < self.bounds.in_flight {
            Bound::Caller
        } else {
            Bound::All
        }
    }

    /// Puts a caller behind the others that wait, if it waits and may have one more place.
    fn take_turn(&mut self, name: &str) {
        let per_caller = self.bounds.per_caller;
        let Some(caller) = self.callers.get_mut(name) else { return };
        if !caller.has_turn && !caller.waiting.is_empty() && caller.in_flight < per_caller {
            caller.has_turn = true;
            self.turns.push_back(name.to_owned());
        }
    }

    fn forget_if_idle(&mut self, name: &str) {
        if self.callers.len() <= REMEMBERED {
            return;
        }
        let caller = self.callers.get(name);
        if caller.is_some_and(|caller| caller.in_flight == 0 && caller.waiting.is_empty()) {
            self.callers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(in_flight: usize, per_caller: usize, waiting: usize) -> Queue<&'static str> {
        Queue::new(Bounds { in_flight, per_caller, waiting })
    }

    #[test]
    fn caller_takes_no_more_than_its_bound() {
        let mut queue = queue(3, 2, 9);
        assert!(queue.enter("a") && queue.enter("a"));
        assert!(!queue.enter("a"));
        assert_eq!(queue.reached("a"), Bound::Caller);
        queue.wait("a", "a1").expect("queued");
        assert_eq!(queue.next(), None, "a place is free, and not for it");
        assert!(queue.enter("b") && !queue.enter("c"));
        assert_eq!(queue.reached("c"), Bound::All);
        queue.give_back("a");
        assert_eq!(queue.next(), Some("a1"));
    }

    #[test]
    fn places_are_given_to_callers_in_turn() {
        let mut queue = queue(1, 1, 9);
        assert!(queue.enter("a"));
        for (name, request) in
            [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2"), ("c", "c1")]
        {
            queue.wait(name, request).expect("queued");
        }
        let mut served = Vec::new();
        let mut serving = "a";
        loop {
            queue.give_back(serving);
            let Some(next) = queue.next() else { break };
            assert_eq!(queue.next(), None, "there is one place");
            served.push(next);
            serving = &next[..1];
        }
        // The first caller has the place when it queues, and no turn before it gives that back.
        assert_eq!(served, ["b1", "c1", "a1", "b2", "a2", "a3"]);
        let mut callers = queue.callers.values();
        assert!(callers.all(|caller| caller.in_flight == 0 && caller.waiting.is_empty()));
        assert!(queue.turns.is_empty());
        assert_eq!((queue.in_flight, queue.waiting), (0, 0));
    }

    #[test]
    fn longest_queue_gives_way_past_the_bound() {
        let mut queue = queue(1, 1, 3);
        assert!(queue.enter("a"));
        for request in ["a1", "a2", "a3"] {
            assert_eq!(queue.wait("a", request).expect("queued").1, None);
        }
        assert_eq!(queue.wait("a", "a4"), Err("a4"), "its own queue is the longest");
        assert_eq!(queue.wait("b", "b1").expect("queued").1, Some("a3"), "the newest");
        assert_eq!(queue.wait("b", "b2"), Err("b2"), "it has as many as is fair");
        assert_eq!(queue.wait("c", "c1").expect("queued").1, Some("a2"));
        assert_eq!(queue.wait("d", "d1"), Err("d1"), "each has one");
        assert_eq!(queue.waiting, 3);
    }

    #[test]
    fn request_that_leaves_makes_room() {
        let mut queue = queue(1, 1, 1);
        assert!(queue.enter("a"));
        let (number, _) = queue.wait("b", "b1").expect("queued");
        assert_eq!(queue.wait("c", "c1"), Err("c1"));
        assert_eq!(queue.leave("b", number), Some("b1"));
        assert_eq!(queue.leave("b", number), None);
        assert!(queue.turns.is_empty(), "it has no turn");
        queue.wait("c", "c1").expect("queued");
        queue.give_back("a");
        assert_eq!(queue.next(), Some("c1"));
    }

    #[test]
    fn new_bounds_hold_from_then_on() {
        let mut queue = queue(2, 1, 9);
        assert!(queue.enter("a"));
        queue.wait("a", "a1").expect("queued");
        queue.wait("a", "a2").expect("queued");
        assert_eq!(queue.next(), None);
        queue.set_bounds(Bounds { in_flight: 2, per_caller: 2, waiting: 9 });
        assert_eq!(queue.next(), Some("a1"));
        queue.set_bounds(Bounds { in_flight: 1, per_caller: 1, waiting: 9 });
        queue.give_back("a");
        assert_eq!(queue.next(), None, "it has one, and that is all");
        queue.give_back("a");
        assert_eq!(queue.next(), Some("a2"));
    }
}
