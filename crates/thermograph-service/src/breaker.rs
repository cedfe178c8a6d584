//! A circuit breaker: an upstream, or another server, that fails is left alone for a while.
//!
//! Open where enough of the requests of the last while failed, or enough in a row: one that is gone
//! has answered many until a moment ago. After its time one request may try:
//! if that succeeds it closes, if it fails it stays open twice as long.

use std::{
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    time::Duration,
};

use thermograph_common::units::millis;

use super::clock;

/// State and counts of one server; no lock.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// When the next try is allowed, in milliseconds of the clock; 0 while closed.
    open_until: AtomicU64,
    /// How often it opened since it was last closed for good.
    openings: AtomicU32,
    counts: Counts,
    rule: Rule,
}

/// Whether requests go through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Closed,
    /// One request may try.
    HalfOpen,
    Open,
}

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Share of the requests that must fail.
    pub(crate) share: f64,
    /// Least requests on which that is judged; so many failures in a row open it in any case.
    pub(crate) requests: u32,
    /// Time over which they are counted.
    pub(crate) window: Duration,
    /// How long it stays open the first time.
    pub(crate) open: Duration,
}

/// Requests of this half of the window and of the one before: failures above, all below.
///
/// What comes in the moment in which the halves change may be counted in the wrong one.
#[derive(Debug, Default)]
struct Counts {
    half: AtomicU64,
    now: AtomicU64,
    before: AtomicU64,
    /// Failures of this half since the last success.
    row: AtomicU32,
}

/// How a request got through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pass {
    /// The breaker is closed.
    Usual,
    /// It is half-open, and this request tries.
    Trial,
}

impl Breaker {
    /// Most doublings of the time that it is open.
    const DOUBLINGS: u32 = 5;

    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            open_until: AtomicU64::new(0),
            openings: AtomicU32::new(0),
            counts: Counts::default(),
            rule,
        }
    }

    /// Whether it goes by this rule.
    pub(crate) fn follows(&self, rule: Rule) -> bool {
        self.rule == rule
    }

    pub(crate) fn state(&self) -> State {
        if self.is_closed() { State::Closed } else { self.state_at(clock::now()) }
    }

    /// Lets a request through, if one may; of those that come to a half-open breaker, the first.
    pub(crate) fn enter(&self) -> Option<Pass> {
        if self.is_closed() { Some(Pass::Usual) } else { self.enter_at(clock::now()) }
    }

    /// A request was answered.
    pub(crate) fn succeeded(&self, pass: Pass) {
        self.succeeded_at(pass, clock::now());
    }

    /// A request failed by the server's fault; whether that opened the breaker.
    pub(crate) fn failed(&self, pass: Pass) -> bool {
        self.failed_at(pass, clock::now())
    }

    /// How long until a request may try.
    pub(crate) fn opens_in(&self) -> Duration {
        Duration::from_millis(self.open_until.load(Relaxed).saturating_sub(clock::now()))
    }

    /// Returns whether the breaker is closed, which saves a reading of the clock.
    fn is_closed(&self) -> bool {
        self.open_until.load(Acquire) == 0
    }

    fn state_at(&self, now: u64) -> State {
        match self.open_until.load(Acquire) {
            0 => State::Closed,
            until if now >= until => State::HalfOpen,
            _ => State::Open,
        }
    }

    fn enter_at(&self, now: u64) -> Option<Pass> {
        match self.open_until.load(Acquire) {
            0 => Some(Pass::Usual),
            until if now < until => None,
            // The others wait as long again for this one's end: its client may leave without one.
            until => {
                let next = now.saturating_add(millis(self.rule.open));
                let first = self.open_until.compare_exchange(until, next, AcqRel, Relaxed).is_ok();
                first.then_some(Pass::Trial)
            }
        }
    }

    fn succeeded_at(&self, pass: Pass, now: u64) {
        self.counts.count(now, millis(self.rule.window), false);
        // Those that were on their way when it opened do not close it.
        if pass == Pass::Trial {
            self.counts.clear();
            self.openings.store(0, Relaxed);
            self.open_until.store(0, Release);
        }
    }

    fn failed_at(&self, pass: Pass, now: u64) -> bool {
        let (failures, all) = self.counts.count(now, millis(self.rule.window), true);
        let row = self.counts.row.load(Relaxed);
        let open = |from: u64| {
            let doublings = self.openings.load(Relaxed).min(Self::DOUBLINGS);
            let until = now.saturating_add(millis(self.rule.open) << doublings);
            let opened = self.open_until.compare_exchange(from, until, AcqRel, Relaxed).is_ok();
            self.openings.fetch_add(u32::from(opened), Relaxed);
            opened
        };
        match pass {
            Pass::Trial => open(self.open_until.load(Acquire)),
            Pass::Usual => {
                let enough = all >= u64::from(self.rule.requests)
                    && failures as f64 >= self.rule.share * all as f64;
                (enough || row >= self.rule.requests) && open(0)
            }
        }
    }
}

impl Counts {
    /// A failure is counted in the upper half of the word, everything in the lower.
    const FAILURE: u64 = 1 << 32;

    /// Counts a request; failures and all requests of the window.
    fn count(&self, now: u64, window: u64, failed: bool) -> (u64, u64) {
        self.turn(now / (window / 2).max(1));
        if failed {
            self.row.fetch_add(1, Relaxed);
        } else if self.row.load(Relaxed) > 0 {
            self.row.store(0, Relaxed);
        }
        let one = 1 + if failed { Self::FAILURE } else { 0 };
        let sum = self.now.fetch_add(one, Relaxed) + one + self.before.load(Relaxed);
        (sum >> 32, sum & (Self::FAILURE - 1))
    }

    /// Goes on to this half of the window, if it is a new one.
    fn turn(&self, half: u64) {
        let last = self.half.load(Relaxed);
        if last == half || self.half.compare_exchange(last, half, Relaxed, Relaxed).is_err() {
            return;
        }
        self.row.store(0, Relaxed);
        let ended = self.now.swap(0, Relaxed);
        self.before.store(if half == last + 1 { ended } else { 0 }, Relaxed);
    }

    fn clear(&self) {
        self.row.store(0, Relaxed);
        self.now.store(0, Relaxed);
        self.before.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        // Opens for 1 s where half of at least 5 in 10 s failed.
        let (window, open) = (Duration::from_secs(10), Duration::from_secs(1));
        Breaker::new(Rule { share: 0.5, requests: 5, window, open })
    }

    /// Opened at this time.
    fn open(now: u64) -> Breaker {
        let breaker = breaker();
        let opened = (0..5).filter(|_| breaker.failed_at(Pass::Usual, now)).count();
        assert_eq!((opened, breaker.state_at(now)), (1, State::Open));
        breaker
    }

    #[test]
    fn it_opens_where_enough_of_enough_failed() {
        let breaker = breaker();
        (0..4).for_each(|_| assert!(!breaker.failed_at(Pass::Usual, 1)));
        (0..5).for_each(|_| breaker.succeeded_at(Pass::Usual, 1));
        // 5 of 10.
        assert!(breaker.failed_at(Pass::Usual, 1));
        assert_eq!(breaker.enter_at(2), None);
    }

    #[test]
    fn it_opens_where_enough_failed_in_a_row_whatever_was_before() {
        let breaker = breaker();
        (0..1000).for_each(|_| breaker.succeeded_at(Pass::Usual, 1));
        (0..4).for_each(|_| assert!(!breaker.failed_at(Pass::Usual, 2)));
        breaker.succeeded_at(Pass::Usual, 2);
        (0..4).for_each(|_| assert!(!breaker.failed_at(Pass::Usual, 3)));
        assert!(breaker.failed_at(Pass::Usual, 3));
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let breaker = breaker();
        (0..4).for_each(|_| assert!(!breaker.failed_at(Pass::Usual, 1)));
        assert!(!breaker.failed_at(Pass::Usual, 12_000));
        // With the one of this half and the one before it there are five.
        (0..3).for_each(|_| assert!(!breaker.failed_at(Pass::Usual, 15_001)));
        assert!(breaker.failed_at(Pass::Usual, 15_001));
    }

    #[test]
    fn one_request_tries_and_closes_it() {
        let breaker = open(1);
        assert_eq!(breaker.enter_at(1000), None);
        assert_eq!(breaker.state_at(1001), State::HalfOpen);
        assert_eq!(breaker.enter_at(1001), Some(Pass::Trial));
        assert_eq!(breaker.enter_at(1002), None);
        // One that was on its way before says nothing.
        breaker.succeeded_at(Pass::Usual, 1002);
        assert_eq!(breaker.enter_at(1002), None);
        breaker.succeeded_at(Pass::Trial, 1003);
        assert_eq!(breaker.enter_at(1003), Some(Pass::Usual));
        assert!(!breaker.failed_at(Pass::Usual, 1003));
    }

    #[test]
    fn a_trial_that_fails_doubles_the_time() {
        let breaker = open(1);
        let mut now = 1001;
        for seconds in [2, 4, 8, 16, 32, 32] {
            assert_eq!(breaker.enter_at(now), Some(Pass::Trial));
            breaker.failed_at(Pass::Trial, now);
            assert_eq!(breaker.enter_at(now + seconds * 1000 - 1), None);
            now += seconds * 1000;
        }
    }

    #[test]
    fn a_trial_without_an_end_does_not_hold_it_open_for_ever() {
        let breaker = open(1);
        assert_eq!(breaker.enter_at(1001), Some(Pass::Trial));
        assert_eq!(breaker.enter_at(2000), None);
        assert_eq!(breaker.enter_at(2001), Some(Pass::Trial));
    }
}
