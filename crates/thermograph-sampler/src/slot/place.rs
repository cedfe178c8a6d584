//! What is published of one thread: a cache line that only the thread itself writes.
//!
//! It is a sequence lock with one writer. The sequence is odd while the poll changes; who reads it
//! even, then the rest, and then the same number again has read one poll. The begin of a poll cannot
//! stand in for it: after an inner poll the outer one is published again, with the same begin.

use super::{Outer, WorkId};
use crate::sync::{
    AtomicBool, AtomicI32, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// What is known of a slot's thread.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Place {
    pub(super) taken: AtomicBool,
    /// Whether the runtime's hooks tell of every task that this thread polls.
    pub(super) hooked: AtomicBool,
    /// The kernel's number of the thread; 0 where the slot is free, or the system has none.
    pub(super) thread: AtomicI32,
    /// Odd while the fields of the poll change.
    sequence: AtomicU32,
    /// Whose work the thread does, in a poll or outside of one; 0 where nobody's.
    work: AtomicU32,
    /// When the poll began that lasts; 0 where none does.
    start: AtomicU64,
    /// Time, in the clock's units, that was spent in polls inside of this one, which it is not
    /// charged for.
    inside: AtomicU64,
    /// Address of what the client calls the request that is polled; 0 where it has no name.
    request: AtomicU64,
    request_length: AtomicU32,
    /// Where the task is listed, and one; 0 where it is not.
    pub(super) listed: AtomicU32,
    /// The task that is polled; 0 where that is not known.
    pub(super) task: AtomicU64,
    /// When the newest request was first polled; 0 before the first.
    pub(super) began: AtomicU64,
}

const _: () = assert!(cfg!(all(test, loom)) || size_of::<Place>() == 64, "a cache line");

/// What a place says of the poll, at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Snapshot {
    pub(super) thread: i32,
    pub(super) start: u64,
    pub(super) inside: u64,
    pub(super) work: Option<WorkId>,
    pub(super) request: u64,
    pub(super) request_length: u32,
    pub(super) task: u64,
}

impl Place {
    #[cfg(not(all(test, loom)))]
    pub(super) const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            hooked: AtomicBool::new(false),
            thread: AtomicI32::new(0),
            sequence: AtomicU32::new(0),
            work: AtomicU32::new(0),
            start: AtomicU64::new(0),
            inside: AtomicU64::new(0),
            request: AtomicU64::new(0),
            request_length: AtomicU32::new(0),
            listed: AtomicU32::new(0),
            task: AtomicU64::new(0),
            began: AtomicU64::new(0),
        }
    }

    /// Takes the place for the thread of this number; returns whether no other thread has it.
    pub(super) fn take(&self, thread: i32) -> bool {
        // Acquires what the place's last thread has written: this one goes on from there.
        let was_free = self.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok();
        if was_free {
            // A reader that sees any store of this thread sees all of the last one's, so that it
            // does not take the last one's poll together with this one's task.
            fence(Release);
            self.thread.store(thread, Relaxed);
        }
        was_free
    }

    /// Leaves the place to the next thread; for the thread that the place is of.
    pub(super) fn give_back(&self) {
        self.publish(Outer::NONE);
        self.task.store(0, Release);
        self.listed.store(0, Release);
        self.hooked.store(false, Release);
        self.began.store(0, Release);
        self.thread.store(0, Release);
        self.taken.store(false, Release);
    }

    /// Publishes a poll; for the thread that the place is of.
    #[inline]
    pub(super) fn publish(&self, poll: Outer) {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Relaxed);
        // The odd number is there before any of the fields changes.
        fence(Release);
        self.work.store(WorkId::to_raw(poll.work), Relaxed);
        self.request.store(poll.request, Relaxed);
        self.request_length.store(poll.request_length, Relaxed);
        self.inside.store(poll.inside, Relaxed);
        self.start.store(poll.start, Relaxed);
        // All of them are there before the even one.
        self.sequence.store(sequence.wrapping_add(2), Release);
    }

    /// The poll that was published last; for the thread that the place is of.
    #[inline]
    pub(super) fn published(&self) -> Outer {
        Outer {
            start: self.start.load(Relaxed),
            inside: self.inside.load(Relaxed),
            work: WorkId::from_raw(self.work.load(Relaxed)),
            request: self.request.load(Relaxed),
            request_length: self.request_length.load(Relaxed),
        }
    }

    /// Whether a poll lasts; for the thread that the place is of.
    #[inline]
    pub(super) fn is_polling(&self) -> bool {
        self.start.load(Relaxed) != 0
    }

    /// Whose work the thread does.
    #[inline]
    pub(super) fn work(&self) -> Option<WorkId> {
        WorkId::from_raw(self.work.load(Acquire))
    }

    /// Changes whose work the thread does, and leaves the rest as it is.
    #[inline]
    pub(super) fn set_work(&self, work: Option<WorkId>) {
        self.work.store(WorkId::to_raw(work), Release);
    }

    /// One poll, as a whole; `None` while it changes. In a signal handler on the thread itself,
    /// which the thread does not go on before, that is for as long as the handler runs.
    #[inline]
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let sequence = self.sequence.load(Acquire);
        if sequence % 2 == 1 {
            return None;
        }
        let snapshot = Snapshot {
            thread: self.thread.load(Relaxed),
            start: self.start.load(Relaxed),
            inside: self.inside.load(Relaxed),
            work: WorkId::from_raw(self.work.load(Relaxed)),
            request: self.request.load(Relaxed),
            request_length: self.request_length.load(Relaxed),
            task: self.task.load(Relaxed),
        };
        // All of them are read before the sequence is read again.
        fence(Acquire);
        if self.sequence.load(Relaxed) == sequence { Some(snapshot) } else { None }
    }
}
