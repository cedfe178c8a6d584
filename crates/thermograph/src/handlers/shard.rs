//! What one thread has counted for a handler.

use http::StatusCode;
use thermograph_sampler::Slot;

use super::timings::{Counter, Timings};

/// Counters of one handler and one [`Slot`].
///
/// Counters that every request adds to are on three cache lines: between two requests the kernel's
/// network code evicts most others from the first-level cache.
#[repr(C, align(64))]
pub(crate) struct Shard {
    /// Single polls, of the handler's future and of its body.
    pub(crate) polls: Timings,
    /// From arrival to the response head.
    pub(crate) head: Timings,
    /// From arrival to the end of the body.
    pub(crate) total: Timings,
    /// Whether one thread at a time writes here: the slot is its own.
    alone: bool,
    started: Counter,
    /// By the first digit of the status, 1 to 5.
    by_class: [Counter; 5],
    parts: [Counter; 5],
    /// Requests that went on in another row.
    moved: Counter,
    cancelled: Counter,
    cut: Counter,
}

/// Requests by where they are and how they ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) started: u64,
    pub(crate) moved: u64,
    pub(crate) by_class: [u64; 5],
    /// Dropped before the response head: the client left, or a time-out fired.
    pub(crate) cancelled: u64,
    /// Dropped in the midst of the body.
    pub(crate) cut: u64,
}

/// What the time to the response heads was made of, and of how many it is known when they arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    /// Requests, 1 of a single one, whose arrival was measured.
    pub(crate) measured: u64,
    /// Requests whose wait is an estimate.
    pub(crate) estimated: u64,
    /// Nanoseconds until a worker was there: from arrival to the first poll, and from when the task
    /// was ready to a later one.
    pub(crate) waiting: u64,
    /// Nanoseconds in polls.
    pub(crate) polled: u64,
    /// Nanoseconds in which the request may have waited for a worker, or for something else.
    pub(crate) unsure: u64,
}

impl Shard {
    pub(crate) fn new(slot: Slot) -> Self {
        Self {
            polls: Timings::new(),
            head: Timings::new(),
            total: Timings::new(),
            alone: slot.is_own(),
            started: Counter::default(),
            by_class: Default::default(),
            parts: Default::default(),
            moved: Counter::default(),
            cancelled: Counter::default(),
            cut: Counter::default(),
        }
    }

    #[inline]
    pub(crate) fn start(&self) {
        self.started.add(1, self.alone);
    }

    /// A request that was counted here goes on in another row.
    pub(crate) fn moved(&self) {
        self.moved.add(1, self.alone);
    }

    /// The response head came, after so many nanoseconds, of which these are known.
    #[inline]
    pub(crate) fn answer(&self, status: StatusCode, ns: u64, parts: Parts) {
        let Parts { measured, estimated, waiting, polled, unsure } = parts;
        let counts = [measured, estimated, waiting, polled, unsure];
        for (counter, count) in self.parts.iter().zip(counts) {
            // As a rule most are 0.
            if count > 0 {
                counter.add(count, self.alone);
            }
        }
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.by_class[class - 1].add(1, self.alone);
        self.head.record(ns, self.alone);
    }

    /// The body ended, after so many nanoseconds.
    #[inline]
    pub(crate) fn end(&self, ns: u64) {
        self.total.record(ns, self.alone);
    }

    #[inline]
    pub(crate) fn poll(&self, ns: u64) {
        self.polls.record(ns, self.alone);
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.add(1, self.alone);
    }

    pub(crate) fn cut(&self) {
        self.cut.add(1, self.alone);
    }

    pub(crate) fn parts(&self) -> Parts {
        let [measured, estimated, waiting, polled, unsure] =
            std::array::from_fn(|part| self.parts[part].get());
        Parts { measured, estimated, waiting, polled, unsure }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            // What ended first: a request that ends in between must not make in-flight negative.
            cut: self.cut.get(),
            moved: self.moved.get(),
            cancelled: self.cancelled.get(),
            by_class: std::array::from_fn(|class| self.by_class[class].get()),
            started: self.started.get(),
        }
    }
}

impl Counts {
    /// Requests on their way, of which so many have ended well.
    pub(crate) fn in_flight(&self, ended: u64) -> u64 {
        self.started.saturating_sub(self.moved + self.cancelled + self.cut + ended)
    }

    /// What was added since an earlier look.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let class = |class: usize| self.by_class[class].saturating_sub(earlier.by_class[class]);
        Self {
            started: self.started.saturating_sub(earlier.started),
            moved: self.moved.saturating_sub(earlier.moved),
            by_class: std::array::from_fn(class),
            cancelled: self.cancelled.saturating_sub(earlier.cancelled),
            cut: self.cut.saturating_sub(earlier.cut),
        }
    }
}

impl Parts {
    /// What was added since an earlier look.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            measured: self.measured.saturating_sub(earlier.measured),
            estimated: self.estimated.saturating_sub(earlier.estimated),
            waiting: self.waiting.saturating_sub(earlier.waiting),
            polled: self.polled.saturating_sub(earlier.polled),
            unsure: self.unsure.saturating_sub(earlier.unsure),
        }
    }
}

impl std::ops::AddAssign for Parts {
    fn add_assign(&mut self, other: Self) {
        let Self { measured, estimated, waiting, polled, unsure } = other;
        self.measured += measured;
        self.estimated += estimated;
        self.waiting += waiting;
        self.polled += polled;
        self.unsure += unsure;
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { started, moved, by_class, cancelled, cut } = other;
        self.started += started;
        self.moved += moved;
        self.cancelled += cancelled;
        self.cut += cut;
        self.by_class.iter_mut().zip(by_class).for_each(|(sum, count)| *sum += count);
    }
}
