//! Waits for a worker: of requests since they arrived, and of tasks since they were ready.
//!
//! What a request or a task waits while a stall holds a worker is the delay that the stall induces.
//! A worker puts a long wait here; the watchdog takes it and finds out whose fault it was.

use std::{
    cell::Cell,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, Release},
    },
    time::Duration,
};

use crossbeam_queue::ArrayQueue;
use thermograph_sampler::Moment;

use super::handler::Handler;

thread_local! {
    /// Nanoseconds that the task that is polled was ready before; [`UNTOLD`] where the runtime does
    /// not tell, or no task is polled.
    static READY: Cell<u64> = const { Cell::new(UNTOLD) };
}

const UNTOLD: u64 = u64::MAX;

/// Where workers put waits, and the watchdog takes them from.
#[derive(Debug)]
pub(crate) struct Waits {
    ended: ArrayQueue<Waited>,
    dropped: AtomicU64,
    /// True if waits are told at all: by a runtime's hooks, or by a listener that stamps requests.
    is_told: AtomicBool,
}

/// A request or a task that waited for a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    pub(crate) end: Moment,
    pub(crate) length: Duration,
    /// Whose request or task it was.
    pub(crate) handler: &'static Handler,
}

impl Waits {
    /// Nanoseconds; shorter waits are every runtime's day, and not told.
    pub(crate) const LONG: u64 = 1_000_000;
    /// Waits that wait to be taken. A stall that holds up more tasks than these at once is counted
    /// as less harmful than it is.
    const ROOM: usize = 4096;

    pub(crate) fn new() -> Self {
        Self {
            ended: ArrayQueue::new(Self::ROOM),
            dropped: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
        }
    }

    /// A request or a task of `handler` is polled at `end` that waited for `ns` nanoseconds.
    #[inline]
    pub(crate) fn ended(&self, handler: &'static Handler, end: Moment, ns: u64) {
        if ns >= Self::LONG {
            self.long(Waited { end, length: Duration::from_nanos(ns), handler });
        }
    }

    #[cold]
    fn long(&self, waited: Waited) {
        if self.ended.push(waited).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// From now on waits are told.
    pub(crate) fn are_told(&self) {
        self.is_told.store(true, Release);
    }

    pub(crate) fn next(&self) -> Option<Waited> {
        self.ended.pop()
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Relaxed)
    }

    /// Waits that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// This thread polls a task now that was ready for so many nanoseconds.
#[cfg_attr(not(tokio_unstable), expect(dead_code, reason = "told by the runtime's hooks"))]
#[inline]
pub(crate) fn set_ready(ns: u64) {
    READY.set(ns);
}

/// The task's poll has ended: what it was ready for, where no request has taken it.
#[cfg_attr(not(tokio_unstable), expect(dead_code, reason = "told by the runtime's hooks"))]
#[inline]
pub(crate) fn clear_ready() -> u64 {
    let ns = READY.replace(UNTOLD);
    if ns == UNTOLD { 0 } else { ns }
}

/// What the task that is polled was ready for: for the first request that it polls, and 0 for
/// others; `None` if the runtime does not tell.
#[inline]
pub(crate) fn take_ready() -> Option<u64> {
    let ns = READY.try_with(|ready| {
        let ns = ready.get();
        if ns != UNTOLD && ns != 0 {
            ready.set(0);
        }
        ns
    });
    ns.ok().filter(|ns| *ns != UNTOLD)
}
