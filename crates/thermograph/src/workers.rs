//! Workers of the app's runtimes that are busy outside of every poll that is instrumented.
//!
//! Without the runtime's hooks a spawned task, a middleware outside of the layer, or a WebSocket may
//! block a worker, and no poll of it is known. Tokio's stable metrics tell which workers are parked, and
//! change at each park and every 61 ticks of a worker. A worker that is not parked and whose metrics
//! stay the same keeps to one piece of work if
//!
//! - it waits in the kernel and was given no time slice meanwhile, or
//! - it polls the same task at every look, by Tokio's own memory ([`TaskPlace`]).
//!
//! A task that yields and is polled again at once looks the same. So it is said that the worker was kept,
//! not that one poll was long.
//!
//! Threads of workers are known as soon as they poll a handler; the others are found by a census: a few
//! short tasks that note the thread which they run on.
//!
//! `block_in_place` moves a worker to another thread. A worker's thread has a task's number at all
//! times, since a worker is itself a piece of work of the blocking pool; one that has none is no
//! worker any more, and a further census finds the one that is.
//!
//! It cannot see the future that `Runtime::block_on` polls on a thread that is no worker.

use std::{
    collections::HashMap,
    hint,
    time::{Duration, Instant},
};

use thermograph_sampler::{
    Activity, Moment, Slot, TaskPlace, Thread, Times, TimesFiles, places_of, task_at,
};
use tokio::{
    runtime::{self, Handle, RuntimeFlavor, RuntimeMetrics},
    task,
};

use crate::{
    handlers::Overruns,
    runtimes::{Found, RUNTIMES, Seat},
};

/// The workers of the runtimes that are known.
#[derive(Debug, Default)]
pub(super) struct Workers {
    runtimes: HashMap<runtime::Id, Runtime>,
    place: Place,
    /// When it was last looked whether the threads are still those of the workers.
    checked: Option<Instant>,
}

/// Where Tokio keeps the number of the task that a thread polls.
#[derive(Debug)]
enum Place {
    /// Places that had the number in all of so many tasks.
    Searched(Option<Vec<TaskPlace>>, u32),
    Known(TaskPlace),
    /// Not in the program's own storage.
    Nowhere,
}

#[derive(Debug)]
struct Runtime {
    handle: Handle,
    metrics: RuntimeMetrics,
    workers: Vec<Worker>,
    known_since: Instant,
    /// When its tasks last counted the workers, and how often they did.
    counted: Option<Instant>,
    counts: u32,
    /// Time at which the watchdog last noticed that a worker had moved to another thread.
    moved_at: Option<Instant>,
}

/// A worker from look to look.
#[derive(Debug, Default)]
struct Worker {
    seat: Option<Seat>,
    /// Open files of the thread, from the first time that they are read.
    files: Option<TimesFiles>,
    /// Since when its metrics are the same, it is not parked, and it polls nothing that is instrumented.
    busy: Option<Busy>,
    /// The start of an instrumented poll on its thread, and its metrics in that poll.
    polled: Option<(Moment, (u64, Duration))>,
}

#[derive(Clone, Copy, Debug)]
struct Busy {
    since: Moment,
    /// Times of the thread at `since`.
    times: Option<Times>,
    metrics: (u64, Duration),
    /// The task that is polled, as far as it is known.
    task: Option<u64>,
    /// The time slices of a thread that waits in the kernel.
    waits: Option<(u64, Moment)>,
    /// Since when it is kept, as soon as that is known.
    kept: Option<Moment>,
}

/// A worker that is kept by one piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Unique among workers.
    pub(super) worker: usize,
    pub(super) thread: i32,
    pub(super) since: Moment,
    /// Times of the thread at `since`.
    pub(super) times: Option<Times>,
    /// Number of the task; 0 if it is not known.
    pub(super) task: u64,
}

/// Workers of a runtime that are looked at.
const WORKERS: usize = 256;
/// A runtime's hooks make a census needless: so long it is waited for a sign of them.
const GRACE: Duration = Duration::from_millis(50);
/// A runtime may have no task yet for so long.
const NEW: Duration = Duration::from_secs(10);
/// Tasks that have to agree on a place.
const AGREEING: u32 = 32;
/// Censuses in a row, and the time between later ones while a worker is not known.
const CENSUSES: u32 = 16;
const LATER: Duration = Duration::from_secs(5);
/// After a worker has moved to another thread, others are expected to move for so long.
const MOVING: Duration = Duration::from_secs(10);
/// Time between two censuses meanwhile.
const MOVED: Duration = Duration::from_millis(100);
/// Time between two looks whether a worker has moved, and the same meanwhile.
const CHECK: Duration = Duration::from_millis(25);
const CHECK_MOVING: Duration = Duration::from_millis(5);
/// Polls after such a look, and after a move, that note their threads.
const WANTED: u32 = 64;

/// What a task of a census does: long enough for other workers to take one as well.
fn count(overruns: &'static Overruns) {
    const LENGTH: Duration = Duration::from_micros(100);
    let start = Instant::now();
    while start.elapsed() < LENGTH {
        hint::spin_loop();
    }
    let number = task::try_id().and_then(|id| id.to_string().parse().ok());
    let places = number.map(places_of);
    if let Ok(handle) = Handle::try_current() {
        overruns.found(Found { handle, seat: Seat::own(), places });
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Searched(None, 0)
    }
}

impl Place {
    fn known(&self) -> Option<TaskPlace> {
        match self {
            Self::Known(place) => Some(*place),
            Self::Searched(..) | Self::Nowhere => None,
        }
    }

    /// A further task has its number at these places.
    fn narrow(&mut self, found: Vec<TaskPlace>) {
        let Self::Searched(before, tasks) = self else { return };
        let left = match before.take() {
            None => found,
            Some(before) => before.into_iter().filter(|place| found.contains(place)).collect(),
        };
        let tasks = *tasks + 1;
        *self = match &left[..] {
            [] => Self::Nowhere,
            [place] if tasks >= AGREEING => Self::Known(*place),
            _ if tasks >= 4 * AGREEING => Self::Nowhere,
            _ => Self::Searched(Some(left), tasks),
        };
    }

    fn is_searched(&self) -> bool {
        matches!(self, Self::Searched(..))
    }
}

impl Workers {
    /// Takes what threads have noted, and counts workers that are not known.
    pub(super) fn keep_up(&mut self, overruns: &'static Overruns) {
        while let Some(found) = overruns.next_found() {
            self.take(found);
        }
        self.check(overruns);
        let is_searched = self.place.is_searched();
        for runtime in self.runtimes.values_mut() {
            runtime.census(is_searched, overruns);
        }
    }

    /// Forgets threads that are no workers any more, and asks for those that are.
    fn check(&mut self, overruns: &Overruns) {
        let is_moving = self.runtimes.values().any(Runtime::is_moving);
        let pause = if is_moving { CHECK_MOVING } else { CHECK };
        if self.checked.is_some_and(|checked| checked.elapsed() < pause) {
            return;
        }
        self.checked = Some(Instant::now());
        let place = self.place.known();
        for runtime in self.runtimes.values_mut().filter(|runtime| runtime.moves()) {
            let is_other = |worker: &&mut Worker| {
                worker.seat.zip(place).is_some_and(|(seat, place)| !seat.is_of_worker(place))
            };
            for worker in runtime.workers.iter_mut().filter(is_other) {
                worker.lose_thread(&mut runtime.moved_at);
            }
        }
        if self.runtimes.values().any(Runtime::is_moving) {
            overruns.want(WANTED);
        }
    }

    fn take(&mut self, Found { handle, seat, places }: Found) {
        if let Some(places) = places {
            self.place.narrow(places);
        }
        let id = handle.id();
        if !self.runtimes.contains_key(&id) {
            if self.runtimes.len() >= RUNTIMES {
                self.runtimes.retain(|_, runtime| runtime.lives());
            }
            if self.runtimes.len() >= RUNTIMES {
                return;
            }
            self.runtimes.insert(id, Runtime::new(handle));
        }
        let worker = seat.and_then(|(worker, seat)| {
            Some((self.runtimes.get_mut(&id)?.workers.get_mut(worker)?, seat))
        });
        if let Some((worker, seat)) = worker
            && worker.seat != Some(seat)
        {
            *worker = Worker { seat: Some(seat), ..Worker::default() };
        }
    }

    /// Workers that are kept for longer than the threshold now, and whether one may be in a moment.
    pub(super) fn kept(&mut self, threshold: Duration, overruns: &Overruns) -> (Vec<Kept>, bool) {
        let place = self.place.known();
        let mut kept = Vec::new();
        let mut is_soon = false;
        let mut number = 0;
        for runtime in self.runtimes.values_mut() {
            let can_move = runtime.moves();
            let Runtime { metrics, workers, moved_at, .. } = runtime;
            for (index, worker) in workers.iter_mut().enumerate() {
                let before = Moment::now();
                let metrics = (
                    metrics.worker_park_unpark_count(index),
                    metrics.worker_total_busy_duration(index),
                );
                is_soon |= worker.look(metrics, place, threshold);
                if can_move && (worker.has_moved(place) || worker.goes_on(before, metrics)) {
                    worker.lose_thread(moved_at);
                    overruns.want(WANTED);
                }
                kept.extend(worker.kept(number + index));
            }
            number += WORKERS;
        }
        (kept, is_soon)
    }

    /// How many workers are looked at, how many there are, and whether it is known which task a
    /// worker polls (1) or not (0).
    pub(super) fn counts(&self) -> [u64; 3] {
        let workers = || self.runtimes.values().flat_map(|runtime| &runtime.workers);
        let seen = workers().filter(|worker| worker.seat.is_some()).count();
        let knows_tasks = self.place.known().is_some();
        [seen as u64, workers().count() as u64, u64::from(knows_tasks)]
    }
}

impl Runtime {
    fn new(handle: Handle) -> Self {
        let metrics = handle.metrics();
        let workers = (0..metrics.num_workers().min(WORKERS)).map(|_| Worker::default()).collect();
        let known_since = Instant::now();
        Self { handle, metrics, workers, known_since, counted: None, counts: 0, moved_at: None }
    }

    /// Returns whether a worker of the runtime may still run: a runtime that has shut down has neither
    /// threads nor tasks.
    fn lives(&self) -> bool {
        let mut seats = self.workers.iter().filter_map(|worker| worker.seat);
        seats.any(|seat| Thread::new(seat.thread).cpu_time().is_some())
            || self.known_since.elapsed() < NEW
            || self.metrics.num_alive_tasks() > 0
    }

    /// Whether `block_in_place` can move its workers to other threads.
    fn moves(&self) -> bool {
        self.handle.runtime_flavor() == RuntimeFlavor::MultiThread
    }

    /// Returns whether a worker of the runtime has moved lately.
    fn is_moving(&self) -> bool {
        self.moved_at.is_some_and(|moved_at| moved_at.elapsed() < MOVING)
    }

    /// Whether its hooks tell of every task.
    fn is_hooked(&self) -> bool {
        let is_worker = |thread: i32| {
            self.workers.iter().any(|worker| worker.seat.is_some_and(|seat| seat.thread == thread))
        };
        Slot::used().any(|slot| slot.is_hooked() && slot.thread().is_some_and(is_worker))
    }

    fn census(&mut self, is_place_searched: bool, overruns: &'static Overruns) {
        let is_known = self.workers.iter().all(|worker| worker.seat.is_some());
        let pause = match self.counts {
            ..CENSUSES => Duration::from_millis(1),
            _ if self.is_moving() => MOVED,
            _ => LATER,
        };
        let is_due = self.counted.is_none_or(|counted| counted.elapsed() >= pause);
        if (is_known && !is_place_searched) || !is_due || self.known_since.elapsed() < GRACE {
            return;
        }
        self.counted = Some(Instant::now());
        self.counts += 1;
        if self.is_hooked() {
            return;
        }
        // As many as make it likely that each worker has one.
        for _ in 0..(2 * self.workers.len()).clamp(4, 64) {
            drop(self.handle.spawn(async move { count(overruns) }));
        }
    }
}

impl Seat {
    /// The slot of the thread, once it has polled something that is instrumented.
    fn slot(self) -> Option<Slot> {
        Slot::used().find(|slot| slot.thread() == Some(self.thread))
    }

    /// Whether the thread is there and polls something, as a worker does even while it is parked.
    fn is_of_worker(self, place: TaskPlace) -> bool {
        Thread::new(self.thread).cpu_time().is_some()
            && task_at(self.storage, place).is_some_and(|task| task != 0)
    }
}

impl Worker {
    /// Forgets the thread of a worker that has moved.
    fn lose_thread(&mut self, moved_at: &mut Option<Instant>) {
        *self = Self::default();
        *moved_at = Some(Instant::now());
    }

    /// Whether it has to be looked at again soon: the more looks find the same, the surer it is.
    fn look(
        &mut self,
        metrics: (u64, Duration),
        place: Option<TaskPlace>,
        threshold: Duration,
    ) -> bool {
        let Some(seat) = self.seat else { return false };
        let is_parked = metrics.0 % 2 == 1;
        let is_instrumented = seat.slot().is_some_and(|slot| slot.is_hooked() || slot.is_polling());
        if is_parked || is_instrumented {
            self.busy = None;
            return false;
        }
        let now = Moment::now();
        let polled =
            || place.and_then(|place| task_at(seat.storage, place)).filter(|task| *task != 0);
        let Some(busy) = self.busy.as_mut().filter(|busy| busy.metrics == metrics) else {
            // The next piece of work is noted at once: a look later it might be too late.
            self.begin(seat, now, metrics, polled());
            return false;
        };
        let age = Duration::from_nanos(now.since(busy.since));
        if age < threshold / 2 {
            return false;
        }
        let task = polled();
        if busy.task != task {
            self.begin(seat, now, metrics, task);
            return false;
        }
        let thread = Thread::new(seat.thread);
        let waits = match thread.activity() {
            Some(Activity::Waiting(_)) => thread.slices(),
            _ => None,
        };
        busy.waits = match (busy.waits, waits) {
            (Some((before, since)), Some(slices)) if before == slices => Some((slices, since)),
            (_, slices) => slices.map(|slices| (slices, now)),
        };
        let polls_since = busy.task.map(|_| busy.since);
        let waits_since = busy.waits.map(|(_, since)| since);
        let first = [polls_since, waits_since].into_iter().flatten().min();
        let is_kept = |since: &Moment| {
            age >= threshold && Duration::from_nanos(now.since(*since)) >= threshold / 2
        };
        // Over, or another one.
        let is_same = busy.kept.is_none_or(|kept| first.is_some_and(|first| first <= kept));
        if !is_same {
            self.begin(seat, now, metrics, task);
            return false;
        }
        if let Some(first) = first.filter(is_kept) {
            busy.kept.get_or_insert(first);
        }
        busy.kept.is_none()
    }

    /// Notes a piece of work that has just been seen first.
    fn begin(&mut self, seat: Seat, since: Moment, metrics: (u64, Duration), task: Option<u64>) {
        if self.files.is_none() {
            self.files = TimesFiles::open(Thread::new(seat.thread));
        }
        let times = self.files.as_ref().and_then(TimesFiles::times);
        self.busy = Some(Busy { since, times, metrics, task, waits: None, kept: None });
    }

    /// Returns whether the worker goes on elsewhere while its thread is in an instrumented poll: only
    /// a worker that `block_in_place` has moved is parked during such a poll. `metrics` were read
    /// after `before`.
    fn goes_on(&mut self, before: Moment, metrics: (u64, Duration)) -> bool {
        let slot = self.seat.and_then(Seat::slot).filter(|slot| !slot.is_hooked());
        let polling = slot.and_then(Slot::polling);
        // A poll that began after `before` may be that of a worker that was parked until then.
        let start = polling.map(|polling| polling.start).filter(|start| before.since(*start) > 0);
        let Some(start) = start else {
            self.polled = None;
            return false;
        };
        let (_, first) = *self.polled.insert(match self.polled {
            Some((known, first)) if known == start => (known, first),
            _ => (start, metrics),
        });
        metrics.0 % 2 == 1 || metrics != first
    }

    /// Whether its thread is no worker any more, though it seemed to be kept.
    fn has_moved(&self, place: Option<TaskPlace>) -> bool {
        let seat = self.seat.filter(|_| self.busy.is_some_and(|busy| busy.kept.is_some()));
        seat.zip(place).is_some_and(|(seat, place)| !seat.is_of_worker(place))
    }

    fn kept(&self, worker: usize) -> Option<Kept> {
        let (seat, busy) = (self.seat?, self.busy?);
        busy.kept?;
        let Busy { since, times, task, .. } = busy;
        Some(Kept { worker, thread: seat.thread, since, times, task: task.unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use http::Method;

    use super::*;
    use crate::handlers::Ledger;

    #[test]
    fn next_piece_of_work_is_noted_at_the_look_that_sees_the_last_one_over() {
        let seat =
            Seat { thread: Thread::current().number(), storage: thermograph_sampler::storage() };
        let mut worker = Worker { seat: Some(seat), ..Worker::default() };
        let mut noted_at = |parks| {
            let is_soon = worker.look((parks, Duration::ZERO), None, Duration::from_secs(1));
            assert!(!is_soon, "nothing lasts");
            worker.busy.map(|busy| busy.metrics.0)
        };
        assert_eq!([2, 2, 4, 6].map(&mut noted_at), [Some(2), Some(2), Some(4), Some(6)]);
        // An odd count means that the worker is parked.
        assert_eq!([7, 8].map(noted_at), [None, Some(8)]);
    }

    #[test]
    fn worker_that_goes_on_while_its_thread_is_in_one_poll_has_moved() {
        let ledger = Ledger::leak(4);
        let handler = ledger.handler(ledger.hint(), &Method::GET, Some("/in-place"));
        thread::spawn(move || {
            let seat = Seat {
                thread: Thread::current().number(),
                storage: thermograph_sampler::storage(),
            };
            let mut worker = Worker { seat: Some(seat), ..Worker::default() };
            let mut goes_on = |at, parks| worker.goes_on(at, (parks, Duration::ZERO));
            let slot = Slot::current();
            let start = Moment::now();
            let outer = slot.enter(handler.number(), None, start);
            let before = Moment::after(start);
            // Begun after that, it may be of a worker that was parked when its metrics were read.
            assert!(!goes_on(start, 3));
            assert_eq!(
                [2, 2, 4, 2].map(|parks| goes_on(before, parks)),
                [false, false, true, false]
            );
            assert!(goes_on(before, 3), "parked");
            slot.leave(outer, start, Moment::after(before));
            assert!(!goes_on(Moment::now(), 5), "nothing is polled");
            let start = Moment::now();
            let _outer = slot.enter(handler.number(), None, start);
            assert!(!goes_on(Moment::after(start), 6), "another poll");
        })
        .join()
        .expect("no panic");
    }
}
