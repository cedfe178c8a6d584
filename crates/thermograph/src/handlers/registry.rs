//! Which handlers there are, and which of them have a row of the ledger.
//!
//! A handler, once known, stays in memory: requests on their way, stalls and samples refer to it.
//! Rows are large, and there are few. When a handler needs one and none is free, the one whose
//! handler has done nothing for the longest is taken: first that handler counts in `(other)`, and
//! only after a pause, when no thread can be about to count for it, the row goes to another. What
//! was counted stays, and is reported in `(other)` from then on.
//!
//! Lookups take no lock. A request whose handler has no row tries to get one, and never waits.

use std::{
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use http::Method;
use thermograph_sampler::Moment;

use super::{
    counters::{Activity, Counters},
    handler::Handler,
    overrun::Overruns,
    snapshot::Past,
    trouble::nanoseconds,
};

/// Handlers and rows.
pub(crate) struct Registry {
    /// Open-addressed: a handler is never taken out.
    handlers: Box<[OnceLock<&'static Handler>]>,
    hasher: RandomState,
    known: AtomicUsize,
    /// Most handlers that are known.
    most: usize,
    /// Rows; the last two are those of [`Self::OTHER`] and [`Self::UNMATCHED`].
    rows: Box<[OnceLock<Box<Counters>>]>,
    /// Most handlers that have a row of their own.
    max: usize,
    used: AtomicUsize,
    owners: Mutex<Owners>,
    /// Counts rows that were taken or given.
    changes: AtomicU64,
    /// Handlers that found no row since the last sweep.
    wanting: AtomicUsize,
    pace: Pace,
    since: Moment,
}

/// How soon a row is taken from a handler that does nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Time without a request or a poll.
    pub(crate) idle: Duration,
    /// The same for a handler that had [`Pace::FEW`] requests at most, as those that scanners find.
    pub(crate) idle_of_few: Duration,
    /// Time until the row goes to another handler.
    pub(crate) pause: Duration,
    /// Time between two sweeps.
    pub(crate) between: Duration,
}

#[derive(Default)]
struct Owners {
    /// By row.
    rows: Vec<Owner>,
    /// Rows without a handler, and when they were taken from one, in nanoseconds of the registry.
    free: Vec<(usize, u64)>,
    next_sweep: u64,
}

struct Owner {
    handler: Option<&'static Handler>,
    /// What the handlers before it have counted.
    past: Option<Past>,
    /// How often the row has changed hands.
    turn: u64,
    activity: Activity,
    /// When that was first seen.
    idle_since: u64,
}

/// What is to be known of the rows to report them.
pub(crate) struct Hands {
    /// Handlers whose row had others before, how many, and what those counted.
    pub(crate) inherited: Vec<(&'static Handler, u64, Past)>,
    /// What handlers counted that have no row any more.
    pub(crate) past: Past,
    changes: u64,
}

impl Pace {
    const FEW: u64 = 3;
    const DEFAULT: Self = Self {
        idle: Duration::from_secs(10),
        idle_of_few: Duration::from_secs(2),
        pause: Duration::from_secs(1),
        between: Duration::from_secs(1),
    };
}

impl Registry {
    /// No row: a handler without one counts in [`Self::OTHER`].
    pub(crate) const NONE: usize = u32::MAX as usize;
    /// The row of handlers without one of their own.
    pub(crate) const OTHER: usize = u32::MAX as usize - 1;
    /// The row of requests that matched nothing.
    pub(crate) const UNMATCHED: usize = u32::MAX as usize - 2;
    /// Least handlers that are known at most: one without a row takes some 200 bytes.
    const LEAST_KNOWN: usize = 4096;

    pub(crate) fn leak(max: usize) -> &'static Self {
        Self::leak_with(max, Pace::DEFAULT)
    }

    pub(crate) fn leak_with(max: usize, pace: Pace) -> &'static Self {
        let most = (4 * max).max(Self::LEAST_KNOWN);
        // Twice the bound keeps the chains of the open addressing short.
        let slots = (2 * most).next_power_of_two();
        Box::leak(Box::new(Self {
            handlers: (0..slots).map(|_| OnceLock::new()).collect(),
            hasher: RandomState::new(),
            known: AtomicUsize::new(0),
            most,
            rows: (0..max + 2).map(|_| OnceLock::new()).collect(),
            max,
            used: AtomicUsize::new(0),
            owners: Mutex::default(),
            changes: AtomicU64::new(0),
            wanting: AtomicUsize::new(0),
            pace,
            since: Moment::now(),
        }))
    }

    /// The handler of this name; `None` if it is unknown.
    pub(crate) fn find(&'static self, method: &Method, route: &str) -> Option<&'static Handler> {
        let slots = self.slots(method, route);
        let known = slots.map_while(|slot| slot.get().copied());
        known.into_iter().find(|handler| handler.is(method, route))
    }

    /// The handler of this name; `None` if too many are known.
    pub(crate) fn intern(
        &'static self,
        method: &Method,
        route: &str,
        overruns: &'static Overruns,
    ) -> Option<&'static Handler> {
        for slot in self.slots(method, route) {
            let handler = match slot.get() {
                Some(handler) => handler,
                None if self.known.load(Relaxed) >= self.most => return None,
                None => slot.get_or_init(|| {
                    self.known.fetch_add(1, Relaxed);
                    Handler::new_in(self, method.clone(), route, overruns).leak()
                }),
            };
            if handler.is(method, route) {
                return Some(handler);
            }
        }
        None
    }

    /// Every handler that has a row of its own.
    pub(crate) fn with_rows(&self) -> impl Iterator<Item = &'static Handler> {
        let known = self.handlers.iter().filter_map(|slot| slot.get().copied());
        known.filter(|handler| handler.has_row())
    }

    /// The counters of a row.
    #[inline]
    pub(crate) fn counters(&self, row: usize) -> &Counters {
        let place = match row {
            Self::NONE | Self::OTHER => self.max + 1,
            Self::UNMATCHED => self.max,
            row => row,
        };
        self.rows[place].get_or_init(|| Box::new(Counters::new()))
    }

    /// Gives a handler a row, where it has none and there is one; returns whether it has one now.
    #[cold]
    pub(crate) fn admit(&'static self, handler: &'static Handler) -> bool {
        if self.used.load(Acquire) < self.max && self.give_new(handler) {
            return true;
        }
        // Another thread has it in hand: this request does not wait.
        let Ok(mut owners) = self.owners.try_lock() else { return handler.has_row() };
        if handler.has_row() || self.give_free(&mut owners, handler) {
            return true;
        }
        let now = self.now();
        if handler.wants_row(owners.next_sweep) {
            self.wanting.fetch_add(1, Relaxed);
        }
        if now >= owners.next_sweep {
            owners.next_sweep = now + nanoseconds(self.pace.between);
            self.sweep(&mut owners, now);
            // Without a pause, as in tests.
            return self.give_free(&mut owners, handler);
        }
        false
    }

    /// Notes which handlers do nothing: the longer it is known, the sooner a row can be taken.
    pub(crate) fn look(&self) {
        if let Ok(mut owners) = self.owners.try_lock() {
            let now = self.now();
            self.note(&mut owners, now);
        }
    }

    /// What is to be known to report the rows.
    pub(crate) fn hands(&self) -> Hands {
        let owners = self.owners();
        let mut hands =
            Hands { inherited: Vec::new(), past: Past::default(), changes: self.changes() };
        for (row, owner) in owners.rows.iter().enumerate() {
            match (owner.handler, &owner.past) {
                (Some(handler), Some(past)) => {
                    hands.inherited.push((handler, owner.turn, past.clone()));
                    hands.past.add(past);
                }
                (Some(_), None) => {}
                (None, _) => hands.past.add(&Past::of(self.counters(row))),
            }
        }
        hands
    }

    /// Whether no row has changed hands since.
    pub(crate) fn is_unchanged(&self, hands: &Hands) -> bool {
        self.changes() == hands.changes
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn slots(
        &self,
        method: &Method,
        route: &str,
    ) -> impl Iterator<Item = &OnceLock<&'static Handler>> {
        let mut hasher = self.hasher.build_hasher();
        method.hash(&mut hasher);
        route.hash(&mut hasher);
        // The table's length is a power of two.
        let start = hasher.finish() as usize & (self.handlers.len() - 1);
        self.handlers[start..].iter().chain(&self.handlers[..start])
    }

    /// A row that no handler had before.
    fn give_new(&self, handler: &'static Handler) -> bool {
        let mut owners = self.owners();
        if handler.has_row() {
            return true;
        }
        let row = owners.rows.len();
        if row >= self.max {
            return false;
        }
        owners.rows.push(Owner {
            handler: Some(handler),
            past: None,
            turn: 0,
            activity: Activity::default(),
            idle_since: self.now(),
        });
        handler.set_row(row);
        self.used.store(row + 1, Release);
        true
    }

    /// A row that was taken long enough ago.
    fn give_free(&self, owners: &mut Owners, handler: &'static Handler) -> bool {
        let (now, pause) = (self.now(), nanoseconds(self.pace.pause));
        let is_ready = |(_, taken): &(usize, u64)| now.saturating_sub(*taken) >= pause;
        let Some(ready) = owners.free.iter().position(is_ready) else { return false };
        let (row, _) = owners.free.swap_remove(ready);
        let counters = self.counters(row);
        counters.change_hands();
        let owner = &mut owners.rows[row];
        *owner = Owner {
            handler: Some(handler),
            past: Some(Past::of(counters)),
            turn: owner.turn + 1,
            activity: counters.activity(),
            idle_since: now,
        };
        self.changes.fetch_add(1, Release);
        handler.set_row(row);
        true
    }

    /// Takes rows from handlers that do nothing: as many as are wanted.
    fn sweep(&self, owners: &mut Owners, now: u64) {
        self.note(owners, now);
        let wanted = self.wanting.swap(0, Relaxed).saturating_sub(owners.free.len());
        let Pace { idle, idle_of_few, .. } = self.pace;
        let is_idle = |owner: &Owner| {
            let few = owner.activity.started <= Pace::FEW;
            let least = nanoseconds(if few { idle_of_few } else { idle });
            owner.handler.is_some() && now.saturating_sub(owner.idle_since) >= least
        };
        let mut idle: Vec<_> =
            (0..owners.rows.len()).filter(|row| is_idle(&owners.rows[*row])).collect();
        idle.sort_by_key(|row| (owners.rows[*row].idle_since, owners.rows[*row].activity.started));
        let idle = idle.into_iter().filter(|row| Past::of(self.counters(*row)).is_at_rest());
        for row in idle.take(wanted) {
            if let Some(handler) = owners.rows[row].handler.take() {
                handler.set_row(Self::NONE);
                owners.free.push((row, now));
                self.changes.fetch_add(1, Release);
            }
        }
    }

    fn note(&self, owners: &mut Owners, now: u64) {
        for (row, owner) in owners.rows.iter_mut().enumerate() {
            let activity = self.counters(row).activity();
            if activity != owner.activity {
                (owner.activity, owner.idle_since) = (activity, now);
            }
        }
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> u64 {
        self.changes.load(Acquire)
    }

    /// Nanoseconds since it was made.
    fn now(&self) -> u64 {
        Moment::now().since(self.since)
    }
}
