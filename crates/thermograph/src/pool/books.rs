//! What the looks at blocking pools have found: now, since the start, and in the last minutes.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use thermograph_sampler::Stack;

#[cfg(sampler)]
use crate::handlers::Handler;

/// The counts of a pool at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Figures {
    /// Threads, without the runtime's workers.
    pub(crate) threads: usize,
    /// Of these, the ones without work.
    pub(crate) idle: usize,
    /// Pieces of work that wait for a thread; `None` if that is not known.
    pub(crate) queued: Option<usize>,
}

/// A place where threads of a pool wait.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Place {
    #[cfg(sampler)]
    pub(crate) stack: Stack,
    pub(crate) syscall: Option<&'static str>,
    /// The handler whose work it is, if the work is labelled.
    pub(crate) handler: Option<HandlerName>,
}

/// Method and route.
pub(crate) type HandlerName = (String, String);

/// One look at a pool.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) figures: Option<Figures>,
    pub(super) limit: Option<usize>,
    pub(super) is_exhausted: bool,
    /// How long it has been exhausted since the look before.
    pub(super) lasted: Duration,
    /// The delay of a probe that has started.
    pub(super) waited: Option<Duration>,
    /// The age of a probe that is still queued.
    pub(super) waits_so_far: Option<Duration>,
}

/// The threads of a pool at one look.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Threads that wait, by place; workers and idle threads are among them.
    pub(crate) waiting: Vec<(Arc<Place>, usize)>,
}

/// A pool now, and its totals since the start.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Tokio's number of the runtime.
    pub(crate) runtime: String,
    /// Name of its threads; `None` if it is not known.
    pub(crate) name: Option<String>,
    /// `None` if they are not known.
    pub(crate) figures: Option<Figures>,
    /// Most threads; `None` if the limit was never reached.
    pub(crate) limit: Option<usize>,
    pub(crate) is_exhausted: bool,
    /// How long it was exhausted since the start.
    pub(crate) exhausted: Duration,
    pub(crate) waits: Waits,
}

/// Delays of probes in the queue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Waits {
    pub(crate) count: u64,
    pub(crate) sum: Duration,
    pub(crate) longest: Duration,
    /// The age of the probe that is queued now.
    pub(crate) so_far: Option<Duration>,
}

/// What was found of a pool within a window in which it was exhausted.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) runtime: String,
    pub(crate) name: Option<String>,
    /// Whether a runtime that is known has threads of the same name.
    pub(crate) shares_name: bool,
    pub(crate) is_exhausted: bool,
    pub(crate) exhausted: Duration,
    /// Most threads while it was exhausted, all of them busy.
    pub(crate) threads: usize,
    /// Most pieces of work in the queue; `None` if that is not known.
    pub(crate) queued: Option<usize>,
    pub(crate) waits: Waits,
    /// Looks at its threads.
    pub(crate) samples: usize,
    /// Threads at each place, summed over these looks.
    pub(crate) places: Vec<(Arc<Place>, usize)>,
}

/// The books of all pools.
#[derive(Debug, Default)]
pub(super) struct Books(Vec<Book>);

#[derive(Debug)]
struct Book {
    standing: Standing,
    /// Looks that found the pool exhausted or the delay of a probe, the oldest first.
    looks: VecDeque<(Look, Option<Seen>)>,
}

/// The longest window of a diagnosis, and what it may be longer than asked for.
const KEPT: Duration = Duration::from_mins(7);
/// Looks that are kept of a pool.
const LOOKS: usize = 10_000;

impl Default for Look {
    fn default() -> Self {
        Self {
            at: Instant::now(),
            figures: None,
            limit: None,
            is_exhausted: false,
            lasted: Duration::ZERO,
            waited: None,
            waits_so_far: None,
        }
    }
}

#[cfg(sampler)]
impl Place {
    /// The name of a handler that the work is labelled with.
    pub(crate) fn name_of(handler: Option<&Handler>) -> Option<HandlerName> {
        handler.map(|handler| (handler.method.to_string(), handler.route.to_string()))
    }
}

impl Waits {
    fn add(&mut self, look: &Look) {
        if let Some(wait) = look.waited {
            self.count += 1;
            self.sum += wait;
            self.longest = self.longest.max(wait);
        }
    }

    /// The longest, one that still lasts included.
    pub(crate) fn longest_so_far(&self) -> Duration {
        self.longest.max(self.so_far.unwrap_or_default())
    }
}

impl Books {
    /// Drops the books of runtimes that are not looked at any more.
    pub(super) fn keep(&mut self, is_known: impl Fn(&str) -> bool) {
        self.0.retain(|book| is_known(&book.standing.runtime));
    }

    /// Notes a look, and what was seen of the threads if they were looked at.
    pub(super) fn note(
        &mut self,
        runtime: &str,
        name: Option<&str>,
        look: Look,
        seen: Option<Seen>,
    ) {
        let place = self.0.iter().position(|book| book.standing.runtime == runtime);
        let place = place.unwrap_or_else(|| {
            self.0.push(Book::new(runtime));
            self.0.len() - 1
        });
        self.0[place].note(name, look, seen);
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        self.0.iter().map(|book| book.standing.clone()).collect()
    }

    pub(super) fn within(&self, window: Duration, now: Instant) -> Vec<Window> {
        let shares_name = |book: &Book| {
            let name = &book.standing.name;
            self.0.iter().filter(|other| other.standing.name == *name).count() > 1
        };
        let windows = self.0.iter().map(|book| book.within(window, now, shares_name(book)));
        windows.flatten().collect()
    }
}

impl Book {
    fn new(runtime: &str) -> Self {
        let standing = Standing {
            runtime: runtime.to_owned(),
            name: None,
            figures: None,
            limit: None,
            is_exhausted: false,
            exhausted: Duration::ZERO,
            waits: Waits::default(),
        };
        Self { standing, looks: VecDeque::new() }
    }

    fn note(&mut self, name: Option<&str>, look: Look, seen: Option<Seen>) {
        let standing = &mut self.standing;
        standing.name = name.map(str::to_owned);
        standing.figures = look.figures;
        standing.limit = look.limit;
        standing.is_exhausted = look.is_exhausted;
        standing.exhausted += look.lasted;
        standing.waits.add(&look);
        standing.waits.so_far = look.waits_so_far.filter(|_| look.is_exhausted);
        let is_old =
            |(old, _): &(Look, Option<Seen>)| look.at.saturating_duration_since(old.at) > KEPT;
        while self.looks.front().is_some_and(is_old) || self.looks.len() >= LOOKS {
            self.looks.pop_front();
        }
        if look.is_exhausted || look.waited.is_some() {
            self.looks.push_back((look, seen));
        }
    }

    /// `None` if it was not exhausted in the window.
    fn within(&self, window: Duration, now: Instant, shares_name: bool) -> Option<Window> {
        let is_inside = |(look, _): &&(Look, Option<Seen>)| {
            // What a look tells, came about before it.
            now.saturating_duration_since(look.at) + look.lasted <= window
        };
        let looks = self.looks.iter().rev().take_while(is_inside);
        let Standing { runtime, name, is_exhausted, waits, .. } = &self.standing;
        let mut found = Window {
            runtime: runtime.clone(),
            name: name.clone(),
            shares_name,
            is_exhausted: *is_exhausted,
            exhausted: Duration::ZERO,
            threads: 0,
            queued: None,
            waits: Waits { so_far: waits.so_far, ..Waits::default() },
            samples: 0,
            places: Vec::new(),
        };
        let mut places = HashMap::<Arc<Place>, usize>::new();
        let mut was_exhausted = false;
        for (look, seen) in looks {
            was_exhausted |= look.is_exhausted;
            found.exhausted += look.lasted;
            found.waits.add(look);
            if let Some(figures) = look.figures.filter(|_| look.is_exhausted) {
                found.threads = found.threads.max(figures.threads);
                found.queued = found.queued.max(figures.queued);
            }
            if let Some(seen) = seen {
                found.samples += 1;
                for (place, threads) in &seen.waiting {
                    *places.entry(Arc::clone(place)).or_default() += threads;
                }
            }
        }
        found.places = places.into_iter().collect();
        was_exhausted.then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, queued: usize, lasted: u64, waited: Option<u64>) -> Look {
        Look {
            at,
            figures: Some(Figures { threads: 4, idle: 0, queued: Some(queued) }),
            limit: Some(4),
            is_exhausted: queued > 0,
            lasted: Duration::from_millis(lasted),
            waited: waited.map(Duration::from_millis),
            waits_so_far: None,
        }
    }

    #[test]
    fn window_has_what_was_found_inside_of_it_only() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut books = Books::default();
        books.note("1", Some("app"), look(at(0), 28, 0, None), None);
        books.note("1", Some("app"), look(at(50), 20, 50, None), None);
        books.note("1", Some("app"), look(at(1000), 3, 50, Some(700)), None);
        books.note("1", Some("app"), look(at(1050), 0, 0, Some(100)), None);
        let now = at(2000);
        let [whole] = &books.within(Duration::from_secs(10), now)[..] else { panic!("one pool") };
        assert_eq!((whole.threads, whole.queued), (4, Some(28)));
        assert_eq!(whole.exhausted, Duration::from_millis(100));
        assert_eq!((whole.waits.count, whole.waits.longest.as_millis()), (2, 700));
        let part = &books.within(Duration::from_millis(1100), now)[0];
        assert_eq!((part.queued, part.exhausted), (Some(3), Duration::from_millis(50)));
        assert!(books.within(Duration::from_millis(900), now).is_empty());
        let standing = &books.standings()[0];
        assert!(!standing.is_exhausted && standing.exhausted.as_millis() == 100, "{standing:?}");
    }

    #[test]
    fn old_looks_are_forgotten() {
        let start = Instant::now();
        let mut books = Books::default();
        for second in 0..1000 {
            let at = start + Duration::from_secs(second);
            books.note("1", None, look(at, 1, 50, None), None);
        }
        let kept = books.0[0].looks.len() as u64;
        assert!(kept <= KEPT.as_secs() + 1, "{kept}");
        books.keep(|_| false);
        assert!(books.standings().is_empty());
    }
}
