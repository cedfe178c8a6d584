//! A place for every thread that polls handlers: where it counts, and what it polls now.
//!
//! Workers that add to the same counters wait for each other's caches, and even alone an atomic
//! addition costs several times a plain one. A thread with a slot of its own writes where nobody
//! else does. What it polls now is read by others: by the watchdog, which looks for polls that
//! last, and by the signal handler on the thread itself, which labels a sample with it.

use std::{
    ptr,
    sync::atomic::{
        AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};

use http::HeaderValue;

use super::{clock::Moment, handler::Handler};

/// Slots: one for each of the first threads, and a last one that all others share.
pub(crate) const SLOTS: usize = OWN + 1;

/// Threads that have a slot to themselves at a time: as many as big machines have cores.
const OWN: usize = 256;

static PLACES: [Place; OWN] = [const { Place::new() }; OWN];

/// Slots past this one were never taken.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Threads that found no slot of their own; they are counted for, but not watched.
static CROWDED_OUT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CURRENT: Claim = Claim::new();
}

/// Where this thread counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot(usize);

/// A thread's hold on its slot; given back when the thread ends.
struct Claim(Slot);

/// What is known of a slot's thread: a cache line that only the thread itself writes.
#[repr(align(64))]
struct Place {
    taken: AtomicBool,
    /// The kernel's number of the thread; 0 where the slot is free, or the system has none.
    thread: AtomicI32,
    /// When the poll began that lasts; 0 where none does. It is the poll's name, too.
    start: AtomicU64,
    /// Time, in the clock's units, that was spent in polls inside of this one, which it is not
    /// charged for.
    inside: AtomicU64,
    /// Whose work the thread does, in a poll or outside of one; null where nobody's.
    handler: AtomicPtr<Handler>,
    /// What the client calls the request that is polled; null where it has no name.
    request: AtomicPtr<HeaderValue>,
    /// The Tokio task that is polled; 0 where that is not known.
    task: AtomicU64,
    /// Where that is listed, and one; 0 where it is not.
    listed: AtomicU32,
    /// Whether the runtime's hooks tell of every task that this thread polls.
    hooked: AtomicBool,
    /// When the newest request was first polled; 0 before the first.
    began: AtomicU64,
}

/// What a thread polled before it began something else inside of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    start: u64,
    inside: u64,
    handler: *mut Handler,
    request: *mut HeaderValue,
}

/// What a thread polls now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polling {
    pub(crate) slot: Slot,
    /// The kernel's number of the thread.
    pub(crate) thread: i32,
    pub(crate) start: Moment,
    /// When it would have begun without what was polled inside of it.
    pub(crate) own_start: Moment,
    pub(crate) handler: &'static Handler,
    /// 0 where it is not known.
    pub(crate) task: u64,
}

impl Polling {
    /// Time in what was polled inside of it so far.
    pub(crate) fn nested(&self) -> Duration {
        Duration::from_nanos(self.own_start.since(self.start))
    }

    /// How long it has lasted, without what was polled inside of it.
    pub(crate) fn age(&self, now: Moment) -> Duration {
        Duration::from_nanos(now.since(self.own_start))
    }
}

impl Slot {
    /// The slot that several threads share.
    const SHARED: Self = Self(OWN);

    /// This thread's.
    #[inline]
    pub(crate) fn current() -> Self {
        // A thread that is ending has given its slot back.
        CURRENT.try_with(|claim| claim.0).unwrap_or(Self::SHARED)
    }

    /// The slot of this number.
    pub(crate) fn at(index: usize) -> Self {
        Self(index)
    }

    /// Its number, below [`SLOTS`].
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0
    }

    /// Whether no other thread has it.
    #[inline]
    pub(crate) fn is_own(self) -> bool {
        self != Self::SHARED
    }

    /// Slots that were ever taken, of threads that are there or not.
    pub(crate) fn used() -> impl Iterator<Item = Self> {
        (0..USED.load(Acquire)).map(Self)
    }

    /// Threads that are not watched, since there are more than slots.
    pub(crate) fn crowded_out() -> u64 {
        CROWDED_OUT.load(Relaxed)
    }

    /// Writes down what this thread polls from now on.
    ///
    /// Each store releases the one before it, so that whoever reads `start`, the rest, and `start`
    /// again unchanged has read one poll; a signal handler on this thread sees them in this order.
    #[inline]
    pub(crate) fn enter(
        self,
        handler: &'static Handler,
        request: Option<&HeaderValue>,
        start: Moment,
    ) -> Outer {
        let Some(place) = PLACES.get(self.0) else { return Outer::NONE };
        let outer = Outer {
            start: place.start.load(Relaxed),
            inside: place.inside.load(Relaxed),
            handler: place.handler.load(Relaxed),
            request: place.request.load(Relaxed),
        };
        place.set(
            ptr::from_ref(handler).cast_mut(),
            request.map_or(ptr::null_mut(), |request| ptr::from_ref(request).cast_mut()),
            start.raw(),
            0,
        );
        outer
    }

    /// Goes back to what this thread polled before, which is not charged for the poll that ended.
    #[inline]
    pub(crate) fn leave(self, outer: Outer, start: Moment, end: Moment) {
        let Some(place) = PLACES.get(self.0) else { return };
        let inside = outer.inside + end.raw().saturating_sub(start.raw());
        place.set(outer.handler, outer.request, outer.start, inside);
    }

    /// Puts a name on what this thread does outside of polls, such as blocking work.
    pub(crate) fn lend(self, handler: Option<&'static Handler>) -> Option<&'static Handler> {
        let place = PLACES.get(self.0)?;
        let new = handler.map_or(ptr::null_mut(), |handler| ptr::from_ref(handler).cast_mut());
        handler_at(place.handler.swap(new, Release))
    }

    /// Changes whose work the poll is that lasts; returns whether one does.
    pub(crate) fn rename(self, handler: &'static Handler) -> bool {
        let Some(place) = PLACES.get(self.0) else { return false };
        let is_polling = place.start.load(Relaxed) != 0;
        if is_polling {
            place.handler.store(ptr::from_ref(handler).cast_mut(), Release);
        }
        is_polling
    }

    /// Whose work this thread does now.
    pub(crate) fn handler(self) -> Option<&'static Handler> {
        handler_at(PLACES.get(self.0)?.handler.load(Acquire))
    }

    /// Whether this thread is inside a poll that was written down.
    #[inline]
    pub(crate) fn is_polling(self) -> bool {
        PLACES.get(self.0).is_some_and(|place| place.start.load(Relaxed) != 0)
    }

    /// A slot that stands for no thread's polls, but for something else that keeps a worker.
    pub(crate) fn apart(number: usize) -> Self {
        Self(SLOTS + number)
    }

    /// Whether it is the slot of a thread, which tells what the thread polls.
    pub(crate) fn is_of_thread(self) -> bool {
        self.0 < SLOTS
    }

    /// Whether the runtime's hooks tell of every task that this thread polls.
    #[cfg(sampler)]
    pub(crate) fn is_hooked(self) -> bool {
        PLACES.get(self.0).is_some_and(|place| place.hooked.load(Relaxed))
    }

    /// The runtime's hooks tell of every task that this thread polls.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn set_hooked(self) {
        if let Some(place) = PLACES.get(self.0)
            && !place.hooked.load(Relaxed)
        {
            place.hooked.store(true, Relaxed);
        }
    }

    /// Sets the Tokio task that this thread polls, and where it is listed.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn set_task(self, task: u64, listed: Option<usize>) {
        if let Some(place) = PLACES.get(self.0) {
            place.task.store(task, Relaxed);
            place.listed.store(listed.map_or(0, |listed| listed as u32 + 1), Relaxed);
        }
    }

    /// A request is first polled on this thread.
    #[inline]
    pub(crate) fn set_began(self, at: Moment) {
        if let Some(place) = PLACES.get(self.0) {
            place.began.store(at.raw(), Relaxed);
        }
    }

    /// When the newest request was first polled on the slot's thread.
    pub(crate) fn began(self) -> Option<Moment> {
        let began = PLACES.get(self.0)?.began.load(Relaxed);
        (began != 0).then(|| Moment::from_raw(began))
    }

    /// The Tokio task that this thread polls; 0 where that is not known.
    pub(crate) fn task(self) -> u64 {
        PLACES.get(self.0).map_or(0, |place| place.task.load(Relaxed))
    }

    /// The Tokio task that this thread polls and where it is listed, if it is.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn listed(self) -> Option<(u64, usize)> {
        let place = PLACES.get(self.0)?;
        let listed = (place.listed.load(Relaxed) as usize).checked_sub(1)?;
        Some((place.task.load(Relaxed), listed))
    }

    /// What the slot's thread polls now, if anything.
    pub(crate) fn polling(self) -> Option<Polling> {
        let place = PLACES.get(self.0)?;
        // Bounded: a thread whose polls are that short has nothing to be watched for.
        (0..4).find_map(|_| {
            let start = place.start.load(Acquire);
            let inside = place.inside.load(Acquire);
            let thread = place.thread.load(Acquire);
            let handler = handler_at(place.handler.load(Acquire));
            let task = place.task.load(Acquire);
            let same = place.start.load(Acquire) == start;
            (same && start != 0).then_some(())?;
            let own_start = Moment::from_raw(start + inside);
            let start = Moment::from_raw(start);
            Some(Polling { slot: self, thread, start, own_start, handler: handler?, task })
        })
    }

    /// The kernel's number of the slot's thread, while there is one.
    pub(crate) fn thread(self) -> Option<i32> {
        let thread = PLACES.get(self.0)?.thread.load(Acquire);
        (thread != 0).then_some(thread)
    }
}

/// What the signal handler reads, on the thread that writes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    /// 0 outside of polls.
    pub(crate) start: u64,
    /// Null where nobody's work is done.
    pub(crate) handler: *const Handler,
    /// Null where there is none. It lives as long as the poll, and so as long as the signal
    /// handler that interrupts the poll.
    pub(crate) request: *const HeaderValue,
}

/// What a thread does now, for a signal handler on that thread: no lock, no thread-local, no call.
#[cfg_attr(not(sampler), expect(dead_code, reason = "for the signal handler"))]
#[inline]
pub(crate) fn seen_by(thread: i32) -> Seen {
    let used = USED.load(Relaxed);
    let mut index = 0;
    // Without closures, which are called where units are compiled apart.
    while index < used
        && let Some(place) = PLACES.get(index)
    {
        if place.thread.load(Relaxed) == thread {
            return Seen {
                start: place.start.load(Acquire),
                handler: place.handler.load(Acquire),
                request: place.request.load(Acquire),
            };
        }
        index += 1;
    }
    Seen::NOTHING
}

/// A handler that a slot pointed to.
#[expect(unsafe_code, reason = "a slot holds a reference as an atomic pointer")]
pub(crate) fn handler_at(pointer: *const Handler) -> Option<&'static Handler> {
    // SAFETY: slots hold null or what was made from a `&'static Handler`: `enter`, `leave`, `rename` and
    // `lend` are the only writers, and take or restore nothing else. So does the table of tasks,
    // whose only writers are `begin_anew` and `request`.
    unsafe { pointer.as_ref() }
}

impl Seen {
    pub(crate) const NOTHING: Self = Self { start: 0, handler: ptr::null(), request: ptr::null() };
}

impl Outer {
    const NONE: Self =
        Self { start: 0, inside: 0, handler: ptr::null_mut(), request: ptr::null_mut() };
}

impl Place {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            thread: AtomicI32::new(0),
            start: AtomicU64::new(0),
            inside: AtomicU64::new(0),
            handler: AtomicPtr::new(ptr::null_mut()),
            request: AtomicPtr::new(ptr::null_mut()),
            task: AtomicU64::new(0),
            listed: AtomicU32::new(0),
            hooked: AtomicBool::new(false),
            began: AtomicU64::new(0),
        }
    }

    #[inline]
    fn set(&self, handler: *mut Handler, request: *mut HeaderValue, start: u64, inside: u64) {
        // Not in a poll while it changes: who reads in between must not join two polls.
        self.start.store(0, Release);
        self.handler.store(handler, Release);
        self.request.store(request, Release);
        self.inside.store(inside, Release);
        self.start.store(start, Release);
    }
}

impl Claim {
    /// Acquires what the slot's last thread has written: this one goes on from there.
    fn new() -> Self {
        let free =
            |place: &Place| place.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok();
        let Some(index) = PLACES.iter().position(free) else {
            CROWDED_OUT.fetch_add(1, Relaxed);
            return Self(Slot::SHARED);
        };
        PLACES[index].thread.store(current_thread(), Release);
        USED.fetch_max(index + 1, Release);
        Self(Slot(index))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(place) = PLACES.get(self.0.index()) {
            place.set(ptr::null_mut(), ptr::null_mut(), 0, 0);
            place.task.store(0, Release);
            place.listed.store(0, Release);
            place.hooked.store(false, Release);
            place.began.store(0, Release);
            place.thread.store(0, Release);
            place.taken.store(false, Release);
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
    use std::{collections::HashSet, sync::Barrier, thread};

    use http::Method;

    use super::*;
    use crate::diagnostics::watch::Ledger;

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
        let ledger = Ledger::leak(4);
        let row = |route| ledger.handler(ledger.hint(), &Method::GET, Some(route));
        let (outer, inner) = (row("/outer"), row("/inner"));
        thread::spawn(move || {
            let slot = Slot::current();
            let route = || slot.polling().map(|polling| &*polling.handler.route);
            assert_eq!(route(), None);
            let began = Moment::now();
            let before = slot.enter(outer, None, began);
            assert_eq!(route(), Some("/outer"));
            let start = Moment::now();
            let around = slot.enter(inner, None, start);
            assert_eq!(route(), Some("/inner"));
            thread::sleep(std::time::Duration::from_millis(5));
            let end = Moment::now();
            slot.leave(around, start, end);
            let resumed = slot.polling().expect("still polling");
            assert_eq!(&*resumed.handler.route, "/outer");
            assert_eq!(resumed.start, began);
            assert_eq!(resumed.own_start.raw(), began.raw() + (end.raw() - start.raw()));
            assert_eq!(resumed.thread, slot.thread().expect("a thread"));
            slot.leave(before, began, Moment::now());
            assert!(route().is_none() && !slot.is_polling() && slot.handler().is_none());
        })
        .join()
        .expect("no panic");
    }
}
