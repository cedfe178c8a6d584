//! What the ledger and the sums of stalls were a while ago: to say what came in the last minutes.
//!
//! Every 10 s the counters are noted; those of the last minute are kept, and of the last quarter of
//! an hour those of each full minute. That is some kilobytes for each handler, and less than 30
//! notes at any time.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::stall::{Store, Sums};
use crate::handlers::{Ledger, Snapshot};

/// The past of one process, until dropped.
#[derive(Debug)]
pub(crate) struct History {
    ledger: &'static Ledger,
    store: Arc<Store>,
    past: Arc<Past>,
    thread: Option<JoinHandle<()>>,
}

/// The counters at one moment, or what was added in a window.
#[derive(Clone, Debug)]
pub(crate) struct Then {
    pub(crate) ledger: Snapshot,
    pub(crate) stalls: Sums,
}

/// How far back to look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Back {
    Minute,
    FiveMinutes,
    Quarter,
    /// To the start.
    All,
}

#[derive(Debug)]
struct Past {
    notes: Mutex<Notes>,
    stop: AtomicBool,
}

/// The oldest first.
#[derive(Debug, Default)]
struct Notes(VecDeque<(Instant, Arc<Then>)>);

/// Time between two notes.
const TICK: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_mins(1);
/// The longest window, and a note before it to compare with.
const OLDEST: Duration = Duration::from_mins(16);

impl Back {
    fn length(self) -> Option<Duration> {
        match self {
            Self::Minute => Some(MINUTE),
            Self::FiveMinutes => Some(5 * MINUTE),
            Self::Quarter => Some(15 * MINUTE),
            Self::All => None,
        }
    }
}

impl History {
    pub(crate) fn start(ledger: &'static Ledger, store: Arc<Store>) -> io::Result<Self> {
        let past = Arc::new(Past { notes: Mutex::default(), stop: AtomicBool::new(false) });
        let (of_thread, books) = (Arc::clone(&past), Arc::clone(&store));
        let run = move || {
            while !of_thread.stop.load(Relaxed) {
                of_thread.notes().push(Instant::now(), Then::now(ledger, &books));
                thread::park_timeout(TICK);
            }
        };
        let thread = thread::Builder::new().name("thermo-history".to_owned()).spawn(run)?;
        Ok(Self { ledger, store, past, thread: Some(thread) })
    }

    /// The counters now.
    pub(crate) fn now(&self) -> Then {
        Then::now(self.ledger, &self.store)
    }

    /// The counters at the start of a window that ends now; none where it reaches to the start of
    /// the process.
    pub(crate) fn before(&self, back: Back) -> Option<Arc<Then>> {
        self.past.notes().before(Instant::now(), back.length()?)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.past.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Then {
    fn now(ledger: &Ledger, store: &Store) -> Self {
        Self { ledger: ledger.snapshot(), stalls: store.sums() }
    }
}

impl Past {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// Adds a note, and drops those that no window needs any more.
    fn push(&mut self, now: Instant, then: Then) {
        let Self(notes) = self;
        notes.push_back((now, Arc::new(then)));
        notes.retain({
            let mut kept = None;
            move |(at, _)| {
                let is_minute_later =
                    kept.is_none_or(|kept: Instant| at.duration_since(kept) >= MINUTE);
                let age = now.duration_since(*at);
                let keep = age < OLDEST && (is_minute_later || age <= MINUTE + TICK);
                if keep && is_minute_later {
                    kept = Some(*at);
                }
                keep
            }
        });
    }

    /// The newest note that is at least so old.
    fn before(&self, now: Instant, length: Duration) -> Option<Arc<Then>> {
        let Self(notes) = self;
        let is_old = |(at, _): &&(Instant, _)| now.duration_since(*at) >= length;
        notes.iter().rev().find(is_old).map(|(_, then)| Arc::clone(then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::Overruns;

    /// Notes of so many ticks, the newest taken now.
    fn notes(ticks: u32) -> (Notes, Instant) {
        let ledger = Ledger::leak(2);
        let overruns = Box::leak(Box::new(Overruns::new(Duration::from_secs(1))));
        let store = Store::new(1, overruns);
        let (mut notes, start) = (Notes::default(), Instant::now());
        let mut now = start;
        for tick in 0..ticks {
            now = start + TICK * tick;
            notes.push(now, Then::now(ledger, &store));
        }
        (notes, now)
    }

    #[test]
    fn a_window_is_at_least_as_long_as_asked_for_and_little_longer() {
        let (notes, now) = notes(1000);
        for (back, at_most) in
            [(Back::Minute, 70), (Back::FiveMinutes, 6 * 60), (Back::Quarter, 16 * 60)]
        {
            let length = back.length().expect("bounded");
            let then = notes.before(now, length).expect("there");
            let (at, _) = notes.0.iter().find(|(_, note)| Arc::ptr_eq(note, &then)).expect("there");
            let window = now.duration_since(*at);
            assert!(window >= length && window.as_secs() <= at_most, "{back:?}: {window:?}");
        }
        assert!(notes.0.len() < 30, "{}", notes.0.len());
    }

    #[test]
    fn a_window_that_reaches_past_the_start_is_the_whole_time() {
        let (notes, now) = notes(6);
        assert!(notes.before(now, MINUTE).is_none());
        assert!(notes.before(now, 5 * TICK).is_some());
    }
}
