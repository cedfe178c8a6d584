//! Every live task of the process: a bounded table that is read and written without a lock.
//!
//! It is a static, so that a late reader reads what is not freed; what nobody uses of it takes no
//! memory.

pub(crate) mod places;

use std::{
    sync::{
        Mutex, MutexGuard, TryLockError,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::Waker,
};

use http::HeaderValue;
use thermograph_sampler::{Moment, Slot, StaticRef};

use crate::{handlers::Handler, stage::Stage};

/// The process' tasks.
pub(crate) static TASKS: Tasks = Tasks::new();

/// Tasks by their number.
///
/// Open addressing by buckets of a cache line: a lookup reads one as a rule. What is read of a task
/// by its own thread was written before the task was first scheduled, and Tokio never uses a number
/// twice; so it never sees its line change hands.
#[derive(Debug)]
pub(crate) struct Tasks {
    buckets: [Bucket; BUCKETS],
    lines: [Line; ROOM],
    works: [Work; ROOM],
    /// Tasks that found no place.
    unlisted: AtomicU64,
}

/// Numbers of tasks, 0 where a place is free.
#[derive(Debug)]
#[repr(align(64))]
struct Bucket([AtomicU64; PLACES]);

/// A cache line that only the thread writes which polls the task.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Line {
    /// 0 until the rest is there.
    task: AtomicU64,
    row: StaticRef<Handler>,
    spawned: AtomicU64,
    /// When it was last polled: the begin of a poll that lasts, and else the end.
    since: AtomicU64,
    polls: AtomicU64,
    /// Time in polls, in the clock's units.
    busy: AtomicU64,
    /// The slot of the thread that polls it and one; 0 where none does.
    thread: AtomicU32,
    /// The number of the place where it was spawned and one, 0 where there were too many; and
    /// [`TOLD`].
    place: AtomicU32,
    /// Since when it had waited, of a task that the diagnostics have woken; else 0.
    asked: AtomicU64,
}

/// What watched futures leave, of those that the task polls.
#[derive(Debug)]
pub(crate) struct Work {
    /// Whose request the task works on; null where on none.
    handler: StaticRef<Handler>,
    /// Requests that it has worked on.
    requests: AtomicU64,
    waits: Mutex<Option<Waits>>,
}

/// A watched future that waits.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    /// The number of its task.
    pub(crate) task: u64,
    /// What the client calls the request.
    pub(crate) id: Option<HeaderValue>,
    pub(crate) stage: Stage,
    /// When it was first polled.
    pub(crate) began: Moment,
    /// Wakes the task.
    pub(crate) waker: Waker,
}

/// What a task is now.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) number: u64,
    pub(crate) row: &'static Handler,
    /// Where it was spawned, by the number of the place.
    pub(crate) place: Option<usize>,
    /// True if Tokio itself told tokio-console of it.
    pub(crate) is_told: bool,
    pub(crate) spawned: Moment,
    pub(crate) since: Moment,
    pub(crate) polls: u64,
    /// Time in polls that have ended, in nanoseconds.
    pub(crate) busy_ns: u64,
    /// Who polls it.
    pub(crate) thread: Option<Slot>,
    /// Whose request it works on.
    pub(crate) request: Option<&'static Handler>,
    pub(crate) requests: u64,
    pub(crate) waits: Option<Waits>,
}

/// Set with the place of a task that Tokio itself tells tokio-console of.
const TOLD: u32 = 1 << 31;
/// Places of a bucket: the numbers in them fill a cache line.
const PLACES: usize = 8;
const BUCKETS_LOG2: u32 = 11;
const BUCKETS: usize = 1 << BUCKETS_LOG2;
/// Most tasks that are listed.
pub(crate) const ROOM: usize = BUCKETS * PLACES;
/// Buckets that a task may stand in.
const PROBES: usize = 4;

impl Tasks {
    #[expect(clippy::large_stack_arrays, reason = "of statics only, which are on no stack")]
    const fn new() -> Self {
        Self {
            buckets: [const { Bucket([const { AtomicU64::new(0) }; PLACES]) }; BUCKETS],
            lines: [const { Line::new() }; ROOM],
            works: [const { Work::new() }; ROOM],
            unlisted: AtomicU64::new(0),
        }
    }

    /// A task was spawned; where there is no place for it, that is counted.
    pub(crate) fn add(&self, task: u64, row: &'static Handler, place: Option<usize>, at: Moment) {
        let claim =
            |place: &usize| self.number(*place).compare_exchange(0, task, Acquire, Relaxed).is_ok();
        let Some(claimed) = places(task).find(claim) else {
            self.unlisted.fetch_add(1, Relaxed);
            return;
        };
        self.works[claimed].handler.store(None, Relaxed);
        self.works[claimed].requests.store(0, Relaxed);
        self.lines[claimed].begin_anew(task, row, place, at);
    }

    /// Notes that Tokio itself tells tokio-console of a task.
    #[cold]
    pub(crate) fn told(&self, task: u64) {
        if let Some(place) = self.find(task) {
            self.lines[place].place.fetch_or(TOLD, Release);
        }
    }

    /// The place of a task.
    #[inline]
    pub(crate) fn find(&self, task: u64) -> Option<usize> {
        places(task).find(|place| self.number(*place).load(Relaxed) == task)
    }

    /// The task is over.
    pub(crate) fn remove(&self, task: u64) {
        if let Some(place) = self.find(task) {
            self.lines[place].task.store(0, Release);
            self.number(place).store(0, Release);
        }
    }

    /// The line at a place that was found.
    #[inline]
    pub(crate) fn line(&self, place: usize) -> &Line {
        &self.lines[place % ROOM]
    }

    /// What is left there by watched futures.
    #[inline]
    pub(crate) fn work(&self, place: usize) -> &Work {
        &self.works[place % ROOM]
    }

    /// Notes that the diagnostics are about to wake a task: the poll that follows does not begin a
    /// new wait, unless what the task awaits is ready.
    ///
    /// Returns the number of polls so far; `None` if the task is polled at this moment, or is over.
    #[cfg(sampler)]
    pub(crate) fn ask(&self, task: u64) -> Option<u64> {
        self.lines[self.find(task)?].ask()
    }

    /// Returns the number of polls that have ended; `None` if the task is over.
    #[cfg(sampler)]
    pub(crate) fn polls(&self, task: u64) -> Option<u64> {
        Some(self.lines[self.find(task)?].polls.load(Acquire))
    }

    /// Every task that is live.
    pub(crate) fn all(&self) -> Vec<Task> {
        (0..ROOM).filter_map(|place| self.lines[place].task(&self.works[place])).collect()
    }

    /// Tasks that found no place.
    pub(crate) fn unlisted(&self) -> u64 {
        self.unlisted.load(Relaxed)
    }

    #[inline]
    fn number(&self, place: usize) -> &AtomicU64 {
        &self.buckets[place / PLACES].0[place % PLACES]
    }
}

/// Places that a task may have. Fibonacci hashing: numbers of tasks that live may have a step.
#[inline]
fn places(task: u64) -> impl Iterator<Item = usize> {
    let hash = task.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BUCKETS_LOG2);
    let first = hash as usize * PLACES;
    (first..first + PROBES * PLACES).map(|place| place & (ROOM - 1))
}

impl Line {
    const fn new() -> Self {
        Self {
            task: AtomicU64::new(0),
            row: StaticRef::none(),
            spawned: AtomicU64::new(0),
            since: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            thread: AtomicU32::new(0),
            place: AtomicU32::new(0),
            asked: AtomicU64::new(0),
        }
    }

    /// Each store releases those before it: whoever reads one number before and after the rest has
    /// read one task.
    fn begin_anew(&self, task: u64, row: &'static Handler, place: Option<usize>, at: Moment) {
        self.row.store(Some(row), Release);
        self.place.store(place.map_or(0, |place| place as u32 + 1), Release);
        self.spawned.store(at.raw(), Release);
        self.since.store(at.raw(), Release);
        self.polls.store(0, Release);
        self.busy.store(0, Release);
        self.thread.store(0, Release);
        self.asked.store(0, Release);
        self.task.store(task, Release);
    }

    /// Whose work the task is.
    #[inline]
    pub(crate) fn row(&self) -> Option<&'static Handler> {
        self.row.load(Relaxed)
    }

    /// A poll begins.
    #[inline]
    pub(crate) fn begin(&self, slot: Slot, start: Moment) {
        self.since.store(start.raw(), Relaxed);
        self.thread.store(slot.index() as u32 + 1, Release);
    }

    /// The poll ends that has begun last.
    #[inline]
    pub(crate) fn end(&self, end: Moment) {
        let took = end.raw().saturating_sub(self.since.load(Relaxed));
        self.busy.store(self.busy.load(Relaxed) + took, Relaxed);
        // Released: an answer that was given in this poll is there before its count.
        self.polls.store(self.polls.load(Relaxed) + 1, Release);
        let asked = self.asked.load(Relaxed);
        let since = if asked == 0 { end.raw() } else { self.resume_wait(asked) };
        self.since.store(since, Relaxed);
        self.thread.store(0, Release);
    }

    /// The poll was caused by the diagnostics: the wait that it interrupted goes on.
    #[cold]
    fn resume_wait(&self, asked: u64) -> u64 {
        self.asked.store(0, Relaxed);
        asked
    }

    /// What the task awaited is ready: the next wait is a new one, even if the diagnostics caused
    /// this poll.
    #[cfg(sampler)]
    pub(crate) fn goes_on(&self) {
        self.asked.store(0, Relaxed);
    }

    #[cfg(sampler)]
    fn ask(&self) -> Option<u64> {
        let polls = self.polls.load(Acquire);
        let since = self.since.load(Acquire);
        (self.thread.load(Acquire) == 0).then_some(())?;
        self.asked.store(since, Release);
        // A poll that began meanwhile has a cause of its own, and what it leaves is a new wait.
        let is_same = self.since.load(Acquire) == since && self.thread.load(Acquire) == 0;
        if !is_same {
            // Fails if that poll has ended already, and has taken it.
            let _ = self.asked.compare_exchange(since, 0, Relaxed, Relaxed);
            return None;
        }
        Some(polls)
    }

    /// What the line says; none where it is free, or changes hands meanwhile.
    fn task(&self, work: &Work) -> Option<Task> {
        let number = self.task.load(Acquire);
        let row = self.row()?;
        (number != 0).then_some(())?;
        let place = self.place.load(Acquire);
        let is_told = place & TOLD != 0;
        let place = ((place & !TOLD) as usize).checked_sub(1);
        let (thread, since) = self.polled();
        let task = Task {
            number,
            row,
            place,
            is_told,
            spawned: Moment::from_raw(self.spawned.load(Acquire)),
            since,
            polls: self.polls.load(Acquire),
            busy_ns: Moment::units_as_nanos(self.busy.load(Acquire)),
            thread,
            request: work.handler.load(Acquire),
            requests: work.requests.load(Acquire),
            waits: work.waits_of(number),
        };
        (self.task.load(Acquire) == number).then_some(task)
    }

    /// Who polls the task, and since when it is polled or waits.
    fn polled(&self) -> (Option<Slot>, Moment) {
        // Bounded: who is polled that often is there at one time and not at the next.
        for _ in 0..4 {
            let thread = self.thread.load(Acquire);
            let since = self.since.load(Acquire);
            if self.thread.load(Acquire) == thread {
                let slot = (thread as usize).checked_sub(1).map(Slot::at);
                return (slot, Moment::from_raw(since));
            }
        }
        (None, Moment::from_raw(self.since.load(Acquire)))
    }
}

impl Work {
    const fn new() -> Self {
        Self { handler: StaticRef::none(), requests: AtomicU64::new(0), waits: Mutex::new(None) }
    }

    /// The task begins to work on a request.
    #[inline]
    pub(crate) fn request(&self, handler: &'static Handler) {
        self.handler.store(Some(handler), Relaxed);
        self.requests.store(self.requests.load(Relaxed) + 1, Relaxed);
    }

    /// Whether the task works on a request.
    pub(crate) fn has_request(&self) -> bool {
        self.handler.load(Relaxed).is_some()
    }

    /// The watched future waits; not written down where somebody looks at just this moment, which
    /// the answer says.
    pub(crate) fn wait(&self, waits: impl FnOnce() -> Waits) -> bool {
        let Some(mut place) = self.try_lock() else { return false };
        let before = place.replace(waits());
        drop(place);
        // Not under the lock: it may be the last that holds the memory of a task.
        drop(before);
        true
    }

    /// The watched future of this task is over, which may have said that it waits.
    #[inline]
    pub(crate) fn over(&self, task: u64, was_request: bool, has_waited: bool) {
        if was_request {
            self.handler.store(None, Relaxed);
        }
        if has_waited {
            self.forget(task);
        }
    }

    #[cold]
    fn forget(&self, task: u64) {
        let Some(mut place) = self.try_lock() else { return };
        let before = place.take_if(|waits| waits.task == task);
        drop(place);
        drop(before);
    }

    /// What the task waits in. What another has left is thrown away.
    fn waits_of(&self, task: u64) -> Option<Waits> {
        let mut place = self.try_lock()?;
        let foreign = place.take_if(|waits| waits.task != task);
        let waits = place.clone();
        drop(place);
        drop(foreign);
        waits
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Option<Waits>>> {
        match self.waits.try_lock() {
            Ok(guard) => Some(guard),
            // A waker that panics when it is cloned has left what was there before.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::handlers::Ledger;

    fn handler() -> &'static Handler {
        let ledger = Ledger::leak(1);
        ledger.handler(ledger.hint(), &Method::GET, Some("/a"))
    }

    /// A table of its own, made where it stays: it is too big for a stack.
    fn tasks() -> &'static Tasks {
        static TABLES: [Tasks; 8] = [const { Tasks::new() }; 8];
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        &TABLES[NEXT.fetch_add(1, Relaxed)]
    }

    #[test]
    fn a_task_is_listed_until_it_is_over() {
        let (tasks, handler) = (tasks(), handler());
        for task in 1..=100 {
            tasks.add(task, handler, Some(3), Moment::now());
            let line = tasks.line(tasks.find(task).expect("listed"));
            assert!(line.row().is_some_and(|row| std::ptr::eq(row, handler)));
            assert!(tasks.find(task + 1).is_none());
        }
        assert_eq!(tasks.all().len(), 100);
        assert!(tasks.all().iter().all(|task| task.place == Some(3) && task.waits.is_none()));
        for task in 1..=100 {
            tasks.remove(task);
            tasks.remove(task);
            assert!(tasks.find(task).is_none());
        }
        assert!(tasks.all().is_empty());
        assert_eq!(tasks.unlisted(), 0);
    }

    #[test]
    fn past_the_bound_tasks_are_counted_and_room_comes_back() {
        let (tasks, handler) = (tasks(), handler());
        let all = 1..=40_000;
        all.clone().for_each(|task| tasks.add(task, handler, None, Moment::now()));
        let listed = all.clone().filter(|task| tasks.find(*task).is_some()).count();
        assert!((14_000..=ROOM).contains(&listed), "{listed}");
        assert_eq!(tasks.all().len(), listed);
        assert_eq!(tasks.unlisted(), 40_000 - listed as u64);
        all.for_each(|task| tasks.remove(task));
        tasks.add(1, handler, None, Moment::now());
        assert!(tasks.find(1).is_some());
    }

    #[test]
    fn threads_do_not_lose_each_other_s_tasks() {
        let (tasks, handler) = (tasks(), handler());
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                scope.spawn(move || {
                    for task in (thread..4_000).step_by(4) {
                        tasks.add(task, handler, None, Moment::now());
                        assert!(tasks.find(task).is_some());
                        tasks.remove(task);
                    }
                });
            }
        });
        assert!(tasks.all().is_empty());
        assert_eq!(tasks.unlisted(), 0);
    }

    #[cfg(sampler)]
    #[test]
    fn a_poll_that_the_diagnostics_cause_does_not_begin_a_wait() {
        let (tasks, handler) = (tasks(), handler());
        tasks.add(7, handler, None, Moment::now());
        let line = tasks.line(tasks.find(7).expect("listed"));
        let since = || tasks.all()[0].since;
        let poll = |during: &dyn Fn()| {
            line.begin(Slot::current(), Moment::now());
            during();
            line.end(Moment::now());
        };
        poll(&|| ());
        let began = since();
        for polls in 1..4 {
            assert_eq!((tasks.ask(7), tasks.polls(7)), (Some(polls), Some(polls)));
            poll(&|| ());
            assert_eq!(since(), began);
        }
        // The next one that has a cause of its own does.
        poll(&|| ());
        assert_ne!(since(), began);
        // So does one in which the task goes on, and one that had begun before it was asked.
        for is_asked_before in [true, false] {
            let began = since();
            if is_asked_before {
                assert!(tasks.ask(7).is_some());
            }
            poll(&|| if is_asked_before { line.goes_on() } else { assert_eq!(tasks.ask(7), None) });
            assert_ne!(since(), began, "{is_asked_before}");
        }
        tasks.remove(7);
        assert_eq!((tasks.ask(7), tasks.polls(7)), (None, None));
    }

    #[test]
    fn a_line_says_what_was_polled_and_what_is_waited_for() {
        let (tasks, handler) = (tasks(), handler());
        let spawned = Moment::now();
        tasks.add(7, handler, None, spawned);
        let place = tasks.find(7).expect("listed");
        let (line, work) = (tasks.line(place), tasks.work(place));
        line.begin(Slot::current(), Moment::now());
        let [task] = &*tasks.all() else { panic!("not one task") };
        assert_eq!((task.thread, task.polls, task.requests), (Some(Slot::current()), 0, 0));
        work.request(handler);
        let waits = |task| Waits {
            task,
            id: Some(HeaderValue::from_static("an-id")),
            stage: Stage::Body,
            began: spawned,
            waker: Waker::noop().clone(),
        };
        assert!(work.wait(|| waits(7)));
        let end = Moment::now();
        line.end(end);
        let [task] = &*tasks.all() else { panic!("not one task") };
        assert_eq!((task.thread, task.since, task.polls, task.requests), (None, end, 1, 1));
        assert!(task.busy_ns > 0 && std::ptr::eq(task.request.expect("a request"), handler));
        assert!(task.waits.as_ref().is_some_and(|waits| waits.stage == Stage::Body));
        // While somebody looks, nobody waits for the lock.
        let looking = work.waits.lock().expect("not poisoned");
        assert!(!work.wait(|| waits(7)));
        drop(looking);
        work.over(7, true, true);
        let [task] = &*tasks.all() else { panic!("not one task") };
        assert!(task.waits.is_none() && task.request.is_none());
        // What a task has left that is over is nobody's.
        assert!(work.wait(|| waits(6)));
        let [task] = &*tasks.all() else { panic!("not one task") };
        assert!(task.waits.is_none());
    }
}
