//! A place for every thread that polls handlers: where it counts, and what it polls now.
//!
//! Workers that add to the same counters wait for each other's caches, and even alone an atomic
//! addition costs several times a plain one. A thread with a slot of its own writes where nobody
//! else does. What it polls now is read by others: by the watchdog, which looks for polls that
//! last, and by the signal handler on the thread itself, which labels a sample with it.

#[cfg(all(test, loom))]
mod model;
mod place;

use std::{
    num::NonZeroU32,
    sync::atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use self::place::{Place, Snapshot};
use crate::clock::Moment;

/// Slots: one for each of the first threads, and a last one that all others share.
pub const SLOTS: usize = OWN + 1;

/// Most bytes of the client's name of a request that are read.
pub const MAX_REQUEST_ID: usize = 64;

/// Threads that have a slot to themselves at a time: as many as big machines have cores.
const OWN: usize = 256;

#[cfg(not(all(test, loom)))]
static PLACES: [Place; OWN] = [const { Place::new() }; OWN];
/// None: loom's atomics belong to one run of a model, which makes its own place.
#[cfg(all(test, loom))]
static PLACES: [Place; 0] = [];

/// Slots past this one were never taken.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Threads that found no slot of their own; they are counted for, but not watched.
static CROWDED_OUT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CURRENT: Claim = Claim::new();
}

/// Where this thread counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot(usize);

/// A thread's hold on its slot; given back when the thread ends.
struct Claim(Slot);

/// Whose work a thread does: a number that the sampler hands through, and that is looked up by whoever
/// gave it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WorkId(NonZeroU32);

/// What a thread polled before it began something else inside of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outer {
    start: u64,
    inside: u64,
    work: Option<WorkId>,
    request: u64,
    request_length: u32,
}

/// What a thread polls now.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// Where the thread counts.
    pub slot: Slot,
    /// The kernel's number of the thread.
    pub thread: i32,
    /// When the poll began.
    pub start: Moment,
    /// When it would have begun without what was polled inside of it.
    pub own_start: Moment,
    /// Whose work it is.
    pub work: WorkId,
    /// The number of the task; 0 where it is not known.
    pub task: u64,
}

impl WorkId {
    /// The work of this number; `None` for 0.
    #[inline]
    pub fn new(number: u32) -> Option<Self> {
        Self::from_raw(number)
    }

    /// Its number.
    #[inline]
    pub fn get(self) -> u32 {
        self.0.get()
    }

    #[expect(clippy::manual_map, reason = "a closure is called where units are compiled apart")]
    #[inline]
    fn from_raw(raw: u32) -> Option<Self> {
        match NonZeroU32::new(raw) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    #[inline]
    fn to_raw(work: Option<Self>) -> u32 {
        match work {
            Some(work) => work.get(),
            None => 0,
        }
    }
}

impl Slot {
    /// The slot that several threads share.
    const SHARED: Self = Self(OWN);

    /// This thread's.
    #[inline]
    pub fn current() -> Self {
        // A thread that is ending has given its slot back.
        CURRENT.try_with(|claim| claim.0).unwrap_or(Self::SHARED)
    }

    /// The slot of this number.
    pub fn at(index: usize) -> Self {
        Self(index)
    }

    /// Its number, below [`SLOTS`].
    #[inline]
    pub fn index(self) -> usize {
        self.0
    }

    /// Whether no other thread has it.
    #[inline]
    pub fn is_own(self) -> bool {
        self != Self::SHARED
    }

    /// Slots that were ever taken, of threads that are there or not.
    pub fn used() -> impl Iterator<Item = Self> {
        (0..USED.load(Acquire)).map(Self)
    }

    /// Threads that are not watched, since there are more than slots.
    pub fn crowded_out() -> u64 {
        CROWDED_OUT.load(Relaxed)
    }

    /// Writes down what this thread polls from now on: whose work, and what the client calls the
    /// request, of which at most [`MAX_REQUEST_ID`] bytes are read.
    ///
    /// The name is read by the kernel and at any time until [`leave`](Self::leave): if it does not
    /// live as long, a stack shows other bytes in its place.
    #[inline]
    pub fn enter(self, work: Option<WorkId>, request: Option<&[u8]>, start: Moment) -> Outer {
        let Some(place) = PLACES.get(self.0) else { return Outer::NONE };
        let outer = place.published();
        let (request, length) = match request {
            Some(request) => (request.as_ptr().addr() as u64, request.len().min(MAX_REQUEST_ID)),
            None => (0, 0),
        };
        place.publish(Outer {
            start: start.raw(),
            inside: 0,
            work,
            request,
            request_length: length as u32,
        });
        outer
    }

    /// Goes back to what this thread polled before, which is not charged for the poll that ended.
    #[inline]
    pub fn leave(self, outer: Outer, start: Moment, end: Moment) {
        let Some(place) = PLACES.get(self.0) else { return };
        let inside = outer.inside + end.raw().saturating_sub(start.raw());
        place.publish(Outer { inside, ..outer });
    }

    /// Puts a name on what this thread does outside of polls, such as blocking work; returns the one
    /// before.
    pub fn lend(self, work: Option<WorkId>) -> Option<WorkId> {
        let place = PLACES.get(self.0)?;
        let before = place.work();
        place.set_work(work);
        before
    }

    /// Changes whose work the poll is that lasts; returns whether one does.
    pub fn rename(self, work: Option<WorkId>) -> bool {
        let Some(place) = PLACES.get(self.0) else { return false };
        let is_polling = place.is_polling();
        if is_polling {
            place.set_work(work);
        }
        is_polling
    }

    /// Whose work this thread does now.
    #[inline]
    pub fn work(self) -> Option<WorkId> {
        PLACES.get(self.0)?.work()
    }

    /// Whether this thread is inside a poll that was written down.
    #[inline]
    pub fn is_polling(self) -> bool {
        PLACES.get(self.0).is_some_and(Place::is_polling)
    }

    /// A slot that stands for no thread's polls, but for something else that keeps a worker.
    pub fn apart(number: usize) -> Self {
        Self(SLOTS + number)
    }

    /// Whether it is the slot of a thread, which tells what the thread polls.
    pub fn is_of_thread(self) -> bool {
        self.0 < SLOTS
    }

    /// Whether the runtime's hooks tell of every task that this thread polls.
    pub fn is_hooked(self) -> bool {
        PLACES.get(self.0).is_some_and(|place| place.hooked.load(Relaxed))
    }

    /// The runtime's hooks tell of every task that this thread polls.
    #[inline]
    pub fn set_hooked(self) {
        if let Some(place) = PLACES.get(self.0)
            && !place.hooked.load(Relaxed)
        {
            place.hooked.store(true, Relaxed);
        }
    }

    /// Sets the Tokio task that this thread polls, and where it is listed.
    #[inline]
    pub fn set_task(self, task: u64, listed: Option<usize>) {
        if let Some(place) = PLACES.get(self.0) {
            place.task.store(task, Relaxed);
            place.listed.store(listed.map_or(0, |listed| listed as u32 + 1), Relaxed);
        }
    }

    /// A request is first polled on this thread.
    #[inline]
    pub fn set_began(self, at: Moment) {
        if let Some(place) = PLACES.get(self.0) {
            place.began.store(at.raw(), Relaxed);
        }
    }

    /// When the newest request was first polled on the slot's thread.
    pub fn began(self) -> Option<Moment> {
        let began = PLACES.get(self.0)?.began.load(Relaxed);
        (began != 0).then(|| Moment::from_raw(began))
    }

    /// The Tokio task that this thread polls; 0 where that is not known.
    pub fn task(self) -> u64 {
        PLACES.get(self.0).map_or(0, |place| place.task.load(Relaxed))
    }

    /// The Tokio task that this thread polls and where it is listed, if it is.
    #[inline]
    pub fn listed(self) -> Option<(u64, usize)> {
        let place = PLACES.get(self.0)?;
        let listed = (place.listed.load(Relaxed) as usize).checked_sub(1)?;
        Some((place.task.load(Relaxed), listed))
    }

    /// What the slot's thread polls now, if anything.
    pub fn polling(self) -> Option<Polling> {
        let place = PLACES.get(self.0)?;
        // Bounded: a thread whose polls are that short has nothing to be watched for.
        let Snapshot { thread, start, inside, work, task, .. } =
            (0..4).find_map(|_| place.snapshot())?;
        (start != 0).then_some(())?;
        let own_start = Moment::from_raw(start + inside);
        let start = Moment::from_raw(start);
        Some(Polling { slot: self, thread, start, own_start, work: work?, task })
    }

    /// The kernel's number of the slot's thread, while there is one.
    pub fn thread(self) -> Option<i32> {
        let thread = PLACES.get(self.0)?.thread.load(Acquire);
        (thread != 0).then_some(thread)
    }
}

/// What a thread does, as the signal handler on it sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// 0 outside of polls.
    start: u64,
    work: Option<WorkId>,
    /// Its address; 0 where there is none.
    request: u64,
    request_length: u32,
}

/// What a thread does now, for a signal handler on that thread: no lock, no thread-local, no call.
#[inline]
pub fn seen_by(thread: i32) -> Seen {
    let used = USED.load(Relaxed);
    let mut index = 0;
    // Without closures, which are called where units are compiled apart.
    while index < used
        && let Some(place) = PLACES.get(index)
    {
        if place.thread.load(Relaxed) == thread {
            // While a poll begins or ends, the thread is in none.
            return match place.snapshot() {
                Some(seen) => Seen {
                    start: seen.start,
                    work: seen.work,
                    request: seen.request,
                    request_length: seen.request_length,
                },
                None => Seen { work: place.work(), ..Seen::NOTHING },
            };
        }
        index += 1;
    }
    Seen::NOTHING
}

impl Seen {
    /// Nobody's work.
    pub const NOTHING: Self = Self { start: 0, work: None, request: 0, request_length: 0 };

    /// Whose work the thread does, in a poll or outside of one.
    pub fn work(self) -> Option<WorkId> {
        self.work
    }

    /// Whether the thread is in a poll.
    pub fn is_polling(self) -> bool {
        self.start != 0
    }

    /// When the poll began; `None` outside of polls.
    pub fn start(self) -> Option<Moment> {
        self.is_polling().then(|| Moment::from_raw(self.start))
    }

    /// Where in memory the client's name of the request is, and its length; 0 where there is none.
    #[inline]
    pub(crate) fn request(self) -> (u64, usize) {
        (self.request, self.request_length as usize)
    }
}

impl Outer {
    const NONE: Self = Self { start: 0, inside: 0, work: None, request: 0, request_length: 0 };
}

impl Claim {
    fn new() -> Self {
        let thread = current_thread();
        let Some(index) = PLACES.iter().position(|place| place.take(thread)) else {
            CROWDED_OUT.fetch_add(1, Relaxed);
            return Self(Slot::SHARED);
        };
        USED.fetch_max(index + 1, Release);
        Self(Slot(index))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(place) = PLACES.get(self.0.index()) {
            place.give_back();
        } else {
            CROWDED_OUT.fetch_sub(1, Relaxed);
        }
    }
}

/// The kernel's number of this thread.
fn current_thread() -> i32 {
    #[cfg(target_os = "linux")]
    return rustix::thread::gettid().as_raw_nonzero().get();
    #[cfg(not(target_os = "linux"))]
    0
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Barrier, thread, time::Duration};

    use super::*;

    #[test]
    fn a_thread_keeps_its_slot_and_no_other_has_it() {
        let threads = 8;
        let all_have_one = Barrier::new(threads);
        let slots: Vec<_> = thread::scope(|scope| {
            let claim = || {
                let slot = Slot::current();
                all_have_one.wait();
                assert_eq!(slot, Slot::current());
                slot
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(claim)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let own: Vec<_> = slots.iter().filter(|slot| slot.is_own()).collect();
        let distinct: HashSet<_> = own.iter().map(|slot| slot.index()).collect();
        assert_eq!(distinct.len(), own.len());
    }

    #[test]
    fn past_the_last_one_threads_share_and_slots_come_back() {
        // Twice as many threads one after the other as there are slots: they are given back.
        for _ in 0..2 * OWN {
            let slot = thread::spawn(Slot::current).join().expect("no panic");
            assert!(slot.index() < SLOTS);
        }
        let held: Vec<_> = (0..=OWN).map(|_| Claim::new()).collect();
        assert!(!held[OWN].0.is_own());
        assert_eq!(held[OWN].0.index(), SLOTS - 1);
        assert!(Slot::crowded_out() > 0);
    }

    #[test]
    fn a_nested_poll_hides_the_outer_one_and_is_not_charged_to_it() {
        let work = |number| WorkId::new(number).expect("a number");
        thread::spawn(move || {
            let slot = Slot::current();
            let polled = || slot.polling().map(|polling| polling.work.get());
            assert_eq!(polled(), None);
            let began = Moment::now();
            let before = slot.enter(Some(work(1)), None, began);
            assert_eq!(polled(), Some(1));
            let start = Moment::now();
            let around = slot.enter(Some(work(2)), None, start);
            assert_eq!(polled(), Some(2));
            thread::sleep(Duration::from_millis(5));
            let end = Moment::now();
            slot.leave(around, start, end);
            let resumed = slot.polling().expect("still polling");
            assert_eq!(resumed.work, work(1));
            assert_eq!(resumed.start, began);
            assert_eq!(resumed.own_start.raw(), began.raw() + (end.raw() - start.raw()));
            assert_eq!(resumed.thread, slot.thread().expect("a thread"));
            slot.leave(before, began, Moment::now());
            assert!(polled().is_none() && !slot.is_polling() && slot.work().is_none());
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn request_id_is_seen_as_long_as_its_poll_lasts() {
        let thread = current_thread();
        let (slot, start) = (Slot::current(), Moment::now());
        let id = [b'x'; MAX_REQUEST_ID + 1];
        let outer = slot.enter(WorkId::new(7), Some(&id), start);
        let seen = seen_by(thread);
        assert_eq!(seen.request(), (id.as_ptr().addr() as u64, MAX_REQUEST_ID));
        assert_eq!((seen.work().map(WorkId::get), seen.start()), (Some(7), Some(start)));
        slot.leave(outer, start, Moment::now());
        assert_eq!(seen_by(thread), Seen::NOTHING);
    }
}
