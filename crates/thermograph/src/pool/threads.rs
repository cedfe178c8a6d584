//! The threads of blocking pools, read without a signal.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use thermograph_profile::folded;
use thermograph_sampler::{Thread, Unwinder, WaitingStack};

#[cfg(not(tokio_unstable))]
use super::Figures;
use super::{Place, Seen};
use crate::handlers::Handler;

/// What is known of threads from look to look.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// Made when the first stack is taken.
    unwinder: Option<Unwinder>,
    /// Threads that waited at their last look.
    waiting: HashMap<i32, Waiting>,
    /// Places that were seen, each once.
    places: HashSet<Arc<Place>>,
    /// The thread to begin with, where there were too many for one look.
    first: usize,
    #[cfg(not(tokio_unstable))]
    idle: super::idle::Idle,
}

/// A thread that waits: as long as it was given no time slice, its stack is the same.
#[derive(Debug)]
struct Waiting {
    slices: u64,
    place: Arc<Place>,
}

/// Time that one look may take.
const BUDGET: Duration = Duration::from_millis(10);
/// Places that are known at a time; past them all are forgotten.
const PLACES: usize = 1024;
/// The diagnostics' own threads.
const OURS: &str = "thermo";

impl Threads {
    /// Looks at the threads of one name; at those of any name if it is `None`.
    pub(super) fn sample(&mut self, name: Option<&str>) -> Seen {
        let mut places = HashMap::<Arc<Place>, usize>::new();
        for place in self.places_of(&threads_of(name)) {
            *places.entry(place).or_default() += 1;
        }
        Seen { waiting: places.into_iter().collect() }
    }

    /// The places of those threads that wait.
    fn places_of(&mut self, threads: &[Thread]) -> Vec<Arc<Place>> {
        // Those of other pools stay as long as there is room.
        if self.waiting.len() > 2 * threads.len() + PLACES {
            self.waiting.clear();
        }
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
        let handler = Place::name_of(seen.work().and_then(Handler::of));
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
        let idle = self.idle.count(&places);
        let threads = threads.len().saturating_sub(workers);
        Some(Figures { threads, idle: idle.min(threads), queued: None })
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
