//! Polls that took too long, as the threads that polled tell it: to the nanosecond, none left out.
//!
//! The watchdog sees such a poll while it lasts, if it is scheduled in time; the thread itself sees
//! every one when it ends, and puts it here. What finds no room is counted.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crossbeam_queue::ArrayQueue;
use http::HeaderValue;
use thermograph_sampler::{Moment, Slot, Times};

use super::{
    estimate::Estimate, handler::Handler, polling::Polling, trouble::nanoseconds, waits::Waits,
};
#[cfg(sampler)]
use crate::runtimes::Found;
use crate::runtimes::{Noted, Runtimes};

/// Where threads put them, and the watchdog takes them from.
///
/// Fields that every poll reads come first, on one cache line: up to the first ones of `estimate`.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Overruns {
    /// In nanoseconds.
    threshold: u64,
    /// Nanoseconds of all that have ended.
    stalled: AtomicU64,
    /// Threads that are wanted to note themselves at their next poll.
    #[cfg(sampler)]
    wanted: std::sync::atomic::AtomicU32,
    /// True if a request was polled in a task that the runtime's hooks have not told of.
    #[cfg(tokio_unstable)]
    is_untold: std::sync::atomic::AtomicBool,
    estimate: Estimate,
    ended: ArrayQueue<Ended>,
    named: ArrayQueue<(PollId, HeaderValue)>,
    dropped: AtomicU64,
    /// Threads of runtimes. What finds no room is noted again by another thread.
    #[cfg(sampler)]
    found: ArrayQueue<Found>,
    /// Runtimes whose blocking pools are not looked at yet.
    runtimes: Runtimes,
    waits: Waits,
    /// How often the watchdog has looked at what all threads do.
    glances: AtomicU64,
}

/// Which poll it was: a thread begins one at a time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct PollId {
    slot: usize,
    start: Moment,
}

/// A poll that took too long and has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) poll: PollId,
    pub(crate) handler: &'static Handler,
    /// The kernel's number of the thread, 0 where it has none.
    pub(crate) thread: i32,
    pub(crate) elapsed: Duration,
    /// Time in polls inside of it, which is not part of `elapsed`.
    pub(crate) nested: Duration,
    pub(crate) end: Moment,
    /// Of the thread, at the end.
    pub(crate) times: Option<Times>,
    /// The Tokio task, 0 where it is not known.
    pub(crate) task: u64,
}

impl Overruns {
    /// Polls that wait to be taken, and names of requests.
    const ROOM: usize = 1024;

    pub(crate) fn new(threshold: Duration) -> Self {
        Self {
            threshold: nanoseconds(threshold),
            stalled: AtomicU64::new(0),
            #[cfg(sampler)]
            wanted: std::sync::atomic::AtomicU32::new(0),
            #[cfg(tokio_unstable)]
            is_untold: std::sync::atomic::AtomicBool::new(false),
            estimate: Estimate::default(),
            ended: ArrayQueue::new(Self::ROOM),
            named: ArrayQueue::new(Self::ROOM),
            dropped: AtomicU64::new(0),
            #[cfg(sampler)]
            found: ArrayQueue::new(Self::ROOM),
            runtimes: Runtimes::default(),
            waits: Waits::new(),
            glances: AtomicU64::new(0),
        }
    }

    /// Notes that a request was polled in a task that the runtime's hooks have not told of.
    #[cfg(tokio_unstable)]
    pub(crate) fn untold(&self) {
        self.is_untold.store(true, Relaxed);
    }

    /// Returns whether a request was polled in a task that the runtime's hooks have not told of.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn is_untold(&self) -> bool {
        self.is_untold.load(Relaxed)
    }

    /// Notes the runtime that the calling thread is in, and which of its workers the thread is; not
    /// on a hot path.
    pub(crate) fn note_runtime(&self) {
        if let Some(noted) = Noted::here() {
            self.runtimes.add(noted);
        }
        #[cfg(sampler)]
        self.note_worker();
    }

    /// Notes which worker of its runtime the calling thread is; not on a hot path.
    #[cfg(sampler)]
    pub(crate) fn note_worker(&self) {
        if let Some(found) = Found::here() {
            self.found(found);
        }
    }

    /// A thread of a runtime was found.
    #[cfg(sampler)]
    pub(crate) fn found(&self, found: Found) {
        let _ = self.found.push(found);
    }

    /// Has the threads of the next so many polls note themselves.
    #[cfg(sampler)]
    pub(crate) fn want(&self, polls: u32) {
        self.wanted.store(polls, Relaxed);
    }

    /// Returns whether threads are wanted to note themselves.
    #[cfg(sampler)]
    #[inline]
    pub(crate) fn wants_threads(&self) -> bool {
        self.wanted.load(Relaxed) > 0
    }

    /// A thread that was wanted notes itself.
    #[cfg(sampler)]
    pub(crate) fn one_less_wanted(&self) {
        // Others may do the same: it never goes below 0.
        let _ = self.wanted.fetch_update(Relaxed, Relaxed, |wanted| wanted.checked_sub(1));
    }

    #[cfg(sampler)]
    pub(crate) fn next_found(&self) -> Option<Found> {
        self.found.pop()
    }

    /// Runtimes of the app whose blocking pools are not looked at yet.
    pub(crate) fn runtimes(&self) -> &Runtimes {
        &self.runtimes
    }

    /// What requests wait whose arrival is not measured.
    #[inline]
    pub(crate) fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// Waits for a worker, which such polls are the reason of.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Nanoseconds of such polls so far: what was added between two looks is the most that they
    /// can have delayed anything in between.
    #[inline]
    pub(crate) fn stalled(&self) -> u64 {
        self.stalled.load(Relaxed)
    }

    /// The length from which a poll is a stall.
    pub(crate) fn threshold(&self) -> Duration {
        Duration::from_nanos(self.threshold)
    }

    /// Returns whether a poll of so many nanoseconds is a stall.
    #[inline]
    pub(crate) fn is_too_long(&self, ns: u64) -> bool {
        ns >= self.threshold
    }

    /// A poll has ended that took too long, unless it did so only by what was polled inside of it:
    /// which one it was, and its length without that.
    #[cold]
    pub(crate) fn ended(
        &self,
        slot: Slot,
        handler: &'static Handler,
        start: Moment,
        end: Moment,
    ) -> Option<(PollId, Duration)> {
        // A thread without a slot of its own has no nested polls that are known.
        let polling = Polling::on(slot);
        let whole = Duration::from_nanos(end.since(start));
        let elapsed = polling.map_or(whole, |polling| polling.age(end));
        if elapsed < self.threshold() {
            return None;
        }
        self.stalled.fetch_add(nanoseconds(elapsed), Relaxed);
        self.estimate.stalled(slot, polling.map_or(start, |polling| polling.own_start), end);
        let poll = PollId::new(slot, start);
        let ended = Ended {
            poll,
            handler,
            thread: slot.thread().unwrap_or(0),
            elapsed,
            nested: whole.saturating_sub(elapsed),
            end,
            times: Times::own(),
            task: polling.map_or(0, |polling| polling.task),
        };
        if self.ended.push(ended).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
        Some((poll, elapsed))
    }

    /// What the request of such a poll is called.
    #[cold]
    pub(crate) fn named(&self, poll: PollId, request_id: HeaderValue) {
        // A stall without a name is still one: nothing is counted.
        let _ = self.named.push((poll, request_id));
    }

    pub(crate) fn next_ended(&self) -> Option<Ended> {
        self.ended.pop()
    }

    pub(crate) fn next_named(&self) -> Option<(PollId, HeaderValue)> {
        self.named.pop()
    }

    /// The watchdog looks at what all threads do.
    pub(crate) fn glance(&self) {
        self.glances.fetch_add(1, Relaxed);
    }

    /// How often it did.
    pub(crate) fn glances(&self) -> u64 {
        self.glances.load(Relaxed)
    }

    /// Polls that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl PollId {
    pub(crate) fn new(slot: Slot, start: Moment) -> Self {
        Self { slot: slot.index(), start }
    }

    pub(crate) fn slot(self) -> Slot {
        Slot::at(self.slot)
    }

    pub(crate) fn start(self) -> Moment {
        self.start
    }
}
