//! Tasks that waited long to be polled, as the runtime's hooks tell it.
//!
//! What a task waits in the run queue while a stall holds a worker is the harm that the stall does.
//! A worker puts a long wait here; the watchdog takes it and finds out whose fault it was.

use std::{
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, Release},
    },
    time::Duration,
};

use crossbeam_queue::ArrayQueue;

use super::clock::Moment;

/// Where workers put waits, and the watchdog takes them from.
#[derive(Debug)]
pub(crate) struct Waits {
    ended: ArrayQueue<Waited>,
    dropped: AtomicU64,
    /// Whether a runtime tells of waits at all.
    is_told: AtomicBool,
}

/// A task that was ready and waited for a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    pub(crate) end: Moment,
    pub(crate) length: Duration,
}

impl Waits {
    /// Shorter waits are every runtime's day, and not told.
    pub(crate) const LONG: Duration = Duration::from_millis(1);
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

    /// A task is polled that waited so long.
    #[cfg_attr(not(schedule_latency), expect(dead_code, reason = "nobody tells of waits"))]
    #[inline]
    pub(crate) fn ended(&self, length: Duration) {
        if length >= Self::LONG {
            self.long(length);
        }
    }

    #[cold]
    fn long(&self, length: Duration) {
        if self.ended.push(Waited { end: Moment::now(), length }).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// From now on waits are told.
    #[cfg_attr(not(schedule_latency), expect(dead_code, reason = "nobody tells of waits"))]
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
