//! What threads do, one thing after the other, while a timeline is recorded.
//!
//! Each thread writes to memory that was set aside for it, behind a lock that it tries and never
//! waits for: the recorder holds it only to set memory aside and to take it back. What finds no
//! room, or no memory yet, is counted. While nothing is recorded, a poll costs one load.

use std::{
    collections::HashSet,
    mem, ptr,
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use http::HeaderValue;
use thermograph_sampler::{Moment, SLOTS, Slot};
use tracing::Metadata;

use super::handler::Handler;

static ON: AtomicBool = AtomicBool::new(false);
static TRACKS: [Mutex<Option<Track>>; SLOTS] = [const { Mutex::new(None) }; SLOTS];
/// Of threads without memory.
static UNTRACKED: AtomicU64 = AtomicU64::new(0);

/// What one thread has done.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) polls: Vec<Polled>,
    pub(crate) requests: Vec<Asked>,
    pub(crate) spans: Vec<Spanned>,
    pub(crate) dropped: Dropped,
}

/// What found no room.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) polls: u64,
    pub(crate) short_polls: u64,
    pub(crate) requests: u64,
    pub(crate) spans: u64,
    /// Of threads for which no memory was set aside yet.
    pub(crate) untracked: u64,
}

/// A poll that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polled {
    pub(crate) handler: &'static Handler,
    /// The kernel's number of the thread.
    pub(crate) thread: i32,
    pub(crate) start: Moment,
    pub(crate) end: Moment,
    /// The Tokio task, 0 where it is not known.
    pub(crate) task: u64,
    pub(crate) part: Part,
}

/// Which poll of which request it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    /// What requests are told apart by: when it was first polled, and 0 for no request.
    pub(crate) request: u64,
    /// From 1.
    pub(crate) number: u32,
}

/// A request that is over.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) handler: &'static Handler,
    pub(crate) thread: i32,
    pub(crate) start: Moment,
    pub(crate) end: Moment,
    pub(crate) id: Option<HeaderValue>,
    /// How it ended, in a word.
    pub(crate) outcome: &'static str,
}

/// A span that was entered and left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spanned {
    pub(crate) meta: &'static Metadata<'static>,
    pub(crate) thread: i32,
    pub(crate) start: Moment,
    pub(crate) end: Moment,
}

/// The right to record, until dropped; there is one in the process.
#[derive(Debug)]
pub(crate) struct Recorder {
    untracked_before: u64,
    /// Slots that have memory.
    aside: HashSet<usize>,
}

impl Track {
    /// Most polls of a thread.
    pub(crate) const POLLS: usize = 65_536;
    /// Of these, most that are short: what is long must find room.
    pub(crate) const SHORT_POLLS: usize = Self::POLLS / 2;
    /// Shorter polls are short, in nanoseconds.
    const SHORT_NS: u64 = 20_000;
    /// Most requests of a thread.
    pub(crate) const REQUESTS: usize = 16_384;
    /// Most spans of a thread.
    pub(crate) const SPANS: usize = 65_536;

    /// Memory that the system gives once it is written to.
    fn new() -> Self {
        Self {
            polls: Vec::with_capacity(Self::POLLS),
            requests: Vec::with_capacity(Self::REQUESTS),
            spans: Vec::with_capacity(Self::SPANS),
            dropped: Dropped::default(),
        }
    }

    fn poll(&mut self, polled: Polled) {
        let is_short = polled.end.since(polled.start) < Self::SHORT_NS;
        let room = if is_short { Self::SHORT_POLLS } else { Self::POLLS };
        if self.polls.len() < room {
            self.polls.push(polled);
        } else if is_short {
            self.dropped.short_polls += 1;
        } else {
            self.dropped.polls += 1;
        }
    }

    fn request(&mut self, asked: Asked) {
        if self.requests.len() < Self::REQUESTS {
            self.requests.push(asked);
        } else {
            self.dropped.requests += 1;
        }
    }

    fn span(&mut self, spanned: Spanned) {
        if self.spans.len() < Self::SPANS {
            self.spans.push(spanned);
        } else {
            self.dropped.spans += 1;
        }
    }
}

/// Whether a timeline is recorded.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Relaxed)
}

/// A poll of this thread's has ended.
#[cold]
pub(crate) fn poll(slot: Slot, handler: &'static Handler, times: (Moment, Moment), part: Part) {
    let (start, end) = times;
    write(slot, |track, thread| {
        track.poll(Polled { handler, thread, start, end, task: slot.task(), part });
    });
}

/// A request is over, on this thread.
#[cold]
pub(crate) fn request(
    handler: &'static Handler,
    start: Moment,
    id: Option<&HeaderValue>,
    outcome: &'static str,
) {
    write(Slot::current(), |track, thread| {
        let (end, id) = (Moment::now(), id.cloned());
        track.request(Asked { handler, thread, start, end, id, outcome });
    });
}

/// A span was left, on this thread.
pub(crate) fn span(meta: &'static Metadata<'static>, start: Moment) {
    let end = Moment::now();
    write(Slot::current(), |track, thread| {
        track.span(Spanned { meta, thread, start, end });
    });
}

fn write(slot: Slot, write: impl FnOnce(&mut Track, i32)) {
    let own = TRACKS.get(slot.index()).filter(|_| slot.is_own());
    let mut track = own.and_then(try_lock);
    let thread = slot.thread().unwrap_or(0);
    match track.as_deref_mut() {
        Some(Some(track)) => write(track, thread),
        _ => {
            UNTRACKED.fetch_add(1, Relaxed);
        }
    }
}

fn try_lock(track: &Mutex<Option<Track>>) -> Option<MutexGuard<'_, Option<Track>>> {
    match track.try_lock() {
        Ok(track) => Some(track),
        Err(TryLockError::Poisoned(track)) => Some(track.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Recorder {
    /// Threads write from now on; none where somebody records already.
    pub(crate) fn begin() -> Option<Self> {
        let taken = changing();
        if ON.load(Acquire) {
            return None;
        }
        let untracked_before = UNTRACKED.load(Relaxed);
        let mut recorder = Self { untracked_before, aside: HashSet::new() };
        recorder.set_aside();
        ON.store(true, Release);
        drop(taken);
        Some(recorder)
    }

    /// Sets memory aside for threads that have come meanwhile.
    pub(crate) fn set_aside(&mut self) {
        for slot in Slot::used() {
            // Once: a thread that finds the lock taken has nowhere to write.
            if self.aside.insert(slot.index()) {
                *lock(&TRACKS[slot.index()]) = Some(Track::new());
            }
        }
    }

    /// Threads write no more: what they have written, and what found no room.
    pub(crate) fn end(self) -> (Vec<Track>, Dropped) {
        let tracks = take();
        let untracked = UNTRACKED.load(Relaxed) - self.untracked_before;
        // Taken already, and somebody else may record now.
        mem::forget(self);
        let mut dropped = Dropped { untracked, ..Dropped::default() };
        for Track { dropped: own, .. } in &tracks {
            dropped.polls += own.polls;
            dropped.short_polls += own.short_polls;
            dropped.requests += own.requests;
            dropped.spans += own.spans;
        }
        (tracks, dropped)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        take();
    }
}

/// Ends recording, and takes every track.
fn take() -> Vec<Track> {
    let _changing = changing();
    ON.store(false, Release);
    TRACKS.iter().filter_map(|track| lock(track).take()).collect()
}

/// Held while recording begins or ends.
fn changing() -> MutexGuard<'static, ()> {
    static CHANGING: Mutex<()> = Mutex::new(());
    CHANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock(track: &Mutex<Option<Track>>) -> MutexGuard<'_, Option<Track>> {
    track.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Polled {
    /// Whether it is the same poll as one that was seen while it lasted.
    pub(crate) fn is(&self, handler: &'static Handler, start: Moment) -> bool {
        ptr::eq(self.handler, handler) && self.start == start
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::handlers::Ledger;

    #[test]
    fn past_the_bound_polls_are_counted_and_long_ones_still_find_room() {
        let ledger = Ledger::leak(1);
        let handler = ledger.handler(ledger.hint(), &Method::GET, Some("/a"));
        let start = Moment::now();
        let mut end = start;
        while end.since(start) < Track::SHORT_NS {
            end = Moment::now();
        }
        let poll = |end| Polled { handler, thread: 1, start, end, task: 0, part: Part::default() };
        let mut track = Track::new();
        for _ in 0..Track::SHORT_POLLS + 3 {
            track.poll(poll(start));
        }
        assert_eq!((track.polls.len(), track.dropped.short_polls), (Track::SHORT_POLLS, 3));
        for _ in 0..Track::POLLS - Track::SHORT_POLLS + 2 {
            track.poll(poll(end));
        }
        assert_eq!((track.polls.len(), track.dropped.polls), (Track::POLLS, 2));
        let (outcome, id) = ("answered", None);
        let asked = Asked { handler, thread: 1, start, end, id, outcome };
        for _ in 0..=Track::REQUESTS {
            track.request(asked.clone());
        }
        assert_eq!((track.requests.len(), track.dropped.requests), (Track::REQUESTS, 1));
        // Nothing was allocated beyond what was set aside.
        assert_eq!(track.polls.capacity(), Track::POLLS);
    }
}
