//! The threads of blocking pools, read without a signal.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(not(tokio_unstable))]
use super::{Figures, Role};
use super::{Place, Seen};
#[cfg(not(tokio_unstable))]
use crate::diagnostics::sampler::name_all;
use crate::diagnostics::{
    folded,
    sampler::{Thread, Unwinder, WaitingStack},
    watch::handler_at,
};

/// What is known of threads from look to look.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// Made when the first stack is taken.
    unwinder: Option<Unwinder>,
    /// Threads that waited at their last look.
    waiting: HashMap<i32, Waiting>,
    /// Places that were seen, each once.
    places: HashSet<Arc<Place>>,
    /// When threads were last looked at because a pool was exhausted.
    sampled_at: Option<Instant>,
    /// The thread to begin with, where there were too many for one look.
    first: usize,
    #[cfg(not(tokio_unstable))]
    roles: HashMap<Arc<Place>, Role>,
}

/// A thread that waits: as long as it was given no time slice, its stack is the same.
#[derive(Debug)]
struct Waiting {
    slices: u64,
    place: Arc<Place>,
}

/// Time between two looks.
const SAMPLE: Duration = Duration::from_millis(100);
/// Time that one look may take.
const BUDGET: Duration = Duration::from_millis(5);
/// Places that are known at a time; past them all are forgotten.
const PLACES: usize = 1024;
/// The diagnostics' own threads.
const OURS: &str = "thermo";

impl Threads {
    /// Looks at the threads of one name, of any name if it is not known; `None` if that was done a
    /// moment ago.
    pub(super) fn sample(&mut self, name: Option<&str>) -> Option<Seen> {
        if self.sampled_at.is_some_and(|at| at.elapsed() < SAMPLE) {
            return None;
        }
        self.sampled_at = Some(Instant::now());
        let mut places = HashMap::<Arc<Place>, usize>::new();
        for place in self.places_of(&threads_of(name)) {
            *places.entry(place).or_default() += 1;
        }
        Some(Seen { waiting: places.into_iter().collect() })
    }

    /// The places of those threads that wait.
    fn places_of(&mut self, threads: &[Thread]) -> Vec<Arc<Place>> {
        self.waiting.retain(|number, _| threads.contains(&Thread::new(*number)));
        if self.places.len() > PLACES {
            self.places.clear();
            self.waiting.clear();
        }
        let began = Instant::now();
        let first = self.first % threads.len().max(1);
        let mut found = Vec::new();
        for (index, thread) in threads.iter().cycle().skip(first).take(threads.len()).enumerate() {
            if began.elapsed() >= BUDGET {
                self.first = first + index;
                break;
            }
            found.extend(self.place_of(*thread));
        }
        found
    }

    /// `None` if the thread runs, or has ended.
    fn place_of(&mut self, thread: Thread) -> Option<Arc<Place>> {
        let slices = thread.slices()?;
        if let Some(waiting) = self.waiting.get(&thread.number())
            && waiting.slices == slices
        {
            return Some(Arc::clone(&waiting.place));
        }
        self.waiting.remove(&thread.number());
        let WaitingStack { stack, syscall, slices, seen, .. } =
            self.unwinder()?.waiting(thread).ok()?;
        let handler = Place::name_of(handler_at(seen.handler));
        let place = Arc::new(Place { stack, syscall, handler });
        let place = if let Some(known) = self.places.get(&place) {
            Arc::clone(known)
        } else {
            self.places.insert(Arc::clone(&place));
            place
        };
        self.waiting.insert(thread.number(), Waiting { slices, place: Arc::clone(&place) });
        Some(place)
    }

    fn unwinder(&mut self) -> Option<&mut Unwinder> {
        if self.unwinder.is_none() {
            self.unwinder = Unwinder::new().ok();
        }
        self.unwinder.as_mut()
    }

    /// Counts the threads of a pool of a runtime with so many workers, whose threads have the same
    /// name; `None` if the name is not known.
    #[cfg(not(tokio_unstable))]
    pub(super) fn count(&mut self, name: Option<&str>, workers: usize) -> Option<Figures> {
        let threads = threads_of(Some(name?));
        let places = self.places_of(&threads);
        self.tell_roles(&places);
        let is_idle = |place: &&Arc<Place>| self.roles.get(*place) == Some(&Role::Idle);
        let idle = places.iter().filter(is_idle).count();
        let threads = threads.len().saturating_sub(workers);
        Some(Figures { threads, idle: idle.min(threads), queued: None })
    }

    /// Names those stacks that are new.
    #[cfg(not(tokio_unstable))]
    fn tell_roles(&mut self, places: &[Arc<Place>]) {
        let known = &self.places;
        self.roles.retain(|place, _| known.contains(place));
        let mut new: Vec<_> =
            places.iter().filter(|place| !self.roles.contains_key(*place)).collect();
        new.dedup();
        if new.is_empty() {
            return;
        }
        let named = name_all(new.iter().map(|place| &place.stack));
        for (place, stack) in new.into_iter().zip(named) {
            let frames: Vec<_> =
                stack.iter().flat_map(|location| &location.frames).map(|frame| &**frame).collect();
            self.roles.insert(Arc::clone(place), Role::of(&frames));
        }
    }
}

/// The threads whose name without a number at its end is that of `name`; all but ours if it is `None`.
fn threads_of(name: Option<&str>) -> Vec<Thread> {
    let pool = name.map(folded::pool);
    let mut threads = Thread::all();
    threads.retain(|thread| {
        let Some(name) = thread.name() else { return false };
        pool.map_or(!name.starts_with(OURS), |pool| folded::pool(&name) == pool)
    });
    threads
}
