//! Models of a [`Place`]: one thread reads while others write, in every order that the memory model
//! allows. `just loom` runs them.
//!
//! [`Unnumbered`] is the protocol without a sequence number, and its model is there to fail: it shows
//! why there is one.

use std::sync::{Arc, Mutex, atomic::AtomicUsize};

use loom::{
    model::Builder,
    thread::{self, JoinHandle},
};

use super::{
    Outer, WorkId,
    place::{Place, Snapshot},
};
use crate::sync::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// A protocol that lets readers take two polls for one. It is not enough to read `start` twice: the
/// outer poll has the same one before and after an inner poll.
struct Unnumbered {
    start: AtomicU64,
    work: AtomicU32,
    request: AtomicU64,
    inside: AtomicU64,
}

/// States that readers have seen, over all executions of a model.
#[derive(Clone)]
struct States<T>(Arc<Mutex<Vec<T>>>);

impl Unnumbered {
    fn new(poll: Outer) -> Self {
        Self {
            start: AtomicU64::new(poll.start),
            work: AtomicU32::new(WorkId::to_raw(poll.work)),
            request: AtomicU64::new(poll.request),
            inside: AtomicU64::new(poll.inside),
        }
    }

    fn publish(&self, poll: Outer) {
        self.start.store(0, Release);
        self.work.store(WorkId::to_raw(poll.work), Release);
        self.request.store(poll.request, Release);
        self.inside.store(poll.inside, Release);
        self.start.store(poll.start, Release);
    }

    fn snapshot(&self) -> Option<Outer> {
        let start = self.start.load(Acquire);
        let inside = self.inside.load(Acquire);
        let work = WorkId::from_raw(self.work.load(Acquire));
        let request = self.request.load(Acquire);
        let is_same = self.start.load(Acquire) == start;
        is_same.then_some(Outer { start, inside, work, request, request_length: 0 })
    }
}

impl<T: PartialEq> States<T> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn insert(&self, state: T) {
        let mut states = self.0.lock().expect("no panic");
        if !states.contains(&state) {
            states.push(state);
        }
    }

    fn contain(&self, state: &T) -> bool {
        self.0.lock().expect("no panic").contains(state)
    }
}

/// Runs a model in every order in which threads are preempted at most so many times;
/// `LOOM_MAX_PREEMPTIONS` says another number.
///
/// Few preemptions are enough, since a reader stores nothing: where it runs late, loom lets each of
/// its loads return any of the last values that the memory model allows.
///
/// Writers begin, and readers are spawned. Loom tries the orders around a load by looking for the last
/// store, and those around a store by looking for the last access, which may be a load of the writer's
/// own: it would miss orders of a reader that runs first.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    println!("{} executions", executions.load(Relaxed));
}

/// Takes a snapshot on a thread of its own.
fn read(place: &Arc<Place>) -> JoinHandle<Option<Snapshot>> {
    let place = place.clone();
    thread::spawn(move || place.snapshot())
}

/// A poll that has no field in common with that of another number.
fn poll(number: u32) -> Outer {
    let raw = u64::from(number);
    Outer {
        start: raw,
        inside: raw,
        work: WorkId::new(number),
        request: raw,
        request_length: number,
    }
}

/// The poll of a snapshot.
fn poll_of(snapshot: Snapshot) -> Outer {
    let Snapshot { start, inside, work, request, request_length, .. } = snapshot;
    Outer { start, inside, work, request, request_length }
}

#[test]
fn nested_polls_are_seen_as_a_whole() {
    let resumed = Outer { inside: 3, ..poll(1) };
    let published = [Outer::NONE, poll(1), poll(2), resumed];
    let seen = States::new();
    let states = seen.clone();
    check(1, move || {
        let place = Arc::new(Place::default());
        let reader = read(&place);
        let before = place.published();
        place.publish(poll(1));
        let outer = place.published();
        place.publish(poll(2));
        place.publish(Outer { inside: resumed.inside, ..outer });
        place.publish(before);
        if let Some(snapshot) = reader.join().expect("no panic") {
            let poll = poll_of(snapshot);
            assert!(published.contains(&poll), "taken for one poll: {poll:?}");
            states.insert(poll);
        }
        assert_eq!(place.snapshot().map(poll_of), Some(Outer::NONE));
    });
    assert!(published.iter().all(|poll| seen.contain(poll)), "each is seen");
}

#[test]
fn place_that_changes_hands_shows_polls_with_their_thread_and_task() {
    let begin = |place: &Place, number: u32| {
        let is_taken = place.take(number.cast_signed());
        if is_taken {
            place.task.store(number.into(), Relaxed);
            place.publish(poll(number));
        }
        is_taken
    };
    let seen = States::new();
    let states = seen.clone();
    check(1, move || {
        let place = Arc::new(Place::default());
        assert!(begin(&place, 1));
        let second = {
            let place = place.clone();
            thread::spawn(move || begin(&place, 2))
        };
        let reader = read(&place);
        place.give_back();
        let is_taken = second.join().expect("no panic");
        if let Some(snapshot) = reader.join().expect("no panic")
            && snapshot.start != 0
        {
            let number = snapshot.start as u32;
            assert_eq!(poll_of(snapshot), poll(number));
            assert_eq!((snapshot.thread, snapshot.task), (number.cast_signed(), number.into()));
            states.insert((number, is_taken));
        }
        assert_eq!(place.published(), if is_taken { poll(2) } else { Outer::NONE });
    });
    assert!([1, 2].iter().all(|&number| seen.contain(&(number, true))), "both are seen");
}

#[test]
fn renamed_poll_has_the_old_work_or_the_new_and_is_otherwise_the_same() {
    let renamed = Outer { work: WorkId::new(3), ..poll(1) };
    let resumed = Outer { inside: 4, ..renamed };
    let published = [poll(1), renamed, poll(2), resumed];
    let seen = States::new();
    let states = seen.clone();
    check(3, move || {
        let place = Arc::new(Place::default());
        place.publish(poll(1));
        let reader = read(&place);
        place.set_work(renamed.work);
        let outer = place.published();
        place.publish(poll(2));
        place.publish(Outer { inside: resumed.inside, ..outer });
        if let Some(snapshot) = reader.join().expect("no panic") {
            let poll = poll_of(snapshot);
            assert!(published.contains(&poll), "taken for one poll: {poll:?}");
            states.insert(poll);
        }
    });
    assert!(published.iter().all(|poll| seen.contain(poll)), "each is seen");
}

#[test]
#[should_panic(expected = "the start of poll 1 with the work of poll 2")]
fn without_a_sequence_number_an_outer_poll_is_taken_for_the_inner_one() {
    check(3, || {
        let place = Arc::new(Unnumbered::new(poll(1)));
        let reader = {
            let place = place.clone();
            thread::spawn(move || place.snapshot())
        };
        place.publish(poll(2));
        place.publish(poll(1));
        if let Some(Outer { start, work, .. }) = reader.join().expect("no panic")
            && start != 0
        {
            let work = WorkId::to_raw(work);
            assert!(start == work.into(), "the start of poll {start} with the work of poll {work}");
        }
    });
}
