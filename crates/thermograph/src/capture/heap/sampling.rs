//! Memory sampled for all who read: a thread takes what jemalloc tells, for as long as there is a
//! reader.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use thermograph_sampler::{HeapSession, name_all};

use super::{super::CaptureError, sites::Sites};

/// How often it is looked what jemalloc has told, while there is a window and while there is none.
const FETCH: Duration = Duration::from_millis(4);
const FETCH_SELDOM: Duration = Duration::from_millis(10);
/// Most windows at a time: each adds up stacks of its own.
const MAX_WINDOWS: usize = 16;

/// The sampling that is on in this process.
static ON: Mutex<Option<On>> = Mutex::new(None);

#[derive(Debug)]
struct On {
    sampling: Arc<Sampling>,
    thread: JoinHandle<()>,
    readers: usize,
}

#[derive(Debug)]
struct Sampling {
    is_over: AtomicBool,
    /// Whether all since sampling began was asked for: it will be again.
    is_scraped: AtomicBool,
    session: HeapSession,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// All since sampling began.
    so_far: Sites,
    windows: Vec<Open>,
    next: u64,
}

/// A window that lasts.
#[derive(Debug)]
struct Open {
    number: u64,
    end: Instant,
    sites: Sites,
    dropped_before: u64,
}

/// Keeps sampling on until it is dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    sampling: Option<Arc<Sampling>>,
}

/// Adds up what is allocated from its beginning on.
#[derive(Debug)]
pub(crate) struct Window {
    reader: Reader,
    number: u64,
}

impl Reader {
    /// Turns sampling on, if it is not.
    pub(crate) fn join() -> Result<Self, CaptureError> {
        let mut on = lock(&ON);
        if let Some(on) = &mut *on {
            on.readers += 1;
            return Ok(Self { sampling: Some(Arc::clone(&on.sampling)) });
        }
        let session = HeapSession::open()?.ok_or(CaptureError::Elsewhere)?;
        let so_far = Sites::new(session.interval());
        let seen = Mutex::new(Seen { so_far, windows: Vec::new(), next: 0 });
        let sampling = Arc::new(Sampling {
            is_over: AtomicBool::new(false),
            is_scraped: AtomicBool::new(false),
            session,
            seen,
        });
        let named = Arc::downgrade(&sampling);
        thread::Builder::new().name("thermo-heap-n".to_owned()).spawn(move || name(&named))?;
        let listening = Arc::clone(&sampling);
        let thread = thread::Builder::new()
            .name("thermo-heap".to_owned())
            .spawn(move || listening.listen())?;
        *on = Some(On { sampling: Arc::clone(&sampling), thread, readers: 1 });
        Ok(Self { sampling: Some(sampling) })
    }

    /// All that was seen since sampling began.
    pub(crate) fn so_far(&self) -> Result<Sites, CaptureError> {
        let sampling = self.sampling()?;
        sampling.is_scraped.store(true, Relaxed);
        sampling.take();
        let mut sites = lock(&sampling.seen).so_far.clone();
        sites.end(sampling.session.dropped());
        Ok(sites)
    }

    fn sampling(&self) -> Result<&Sampling, CaptureError> {
        self.sampling.as_deref().ok_or(CaptureError::Ended)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // As long as the lock is held no other begins: it would find that sampling is on.
        let mut on = lock(&ON);
        self.sampling = None;
        if let Some(on) = &mut *on {
            on.readers -= 1;
        }
        if let Some(On { sampling, thread, .. }) = on.take_if(|on| on.readers == 0) {
            sampling.is_over.store(true, Relaxed);
            thread.thread().unpark();
            // It has nothing to say; where it panicked it has said so.
            let _ = thread.join();
        }
    }
}

impl Window {
    /// Begins now.
    pub(crate) fn open(duration: Duration) -> Result<Self, CaptureError> {
        let reader = Reader::join()?;
        let sampling = reader.sampling()?;
        sampling.take();
        let mut seen = lock(&sampling.seen);
        if seen.windows.len() >= MAX_WINDOWS {
            let first = seen.windows.iter().map(|open| open.end).min();
            let left = first.map(|end| end.saturating_duration_since(Instant::now()));
            return Err(CaptureError::TooMany {
                most: MAX_WINDOWS,
                left: left.unwrap_or_default(),
            });
        }
        let number = seen.next;
        seen.next += 1;
        seen.windows.push(Open {
            number,
            end: Instant::now() + duration,
            sites: Sites::new(sampling.session.interval()),
            dropped_before: sampling.session.dropped(),
        });
        drop(seen);
        Ok(Self { reader, number })
    }

    /// Ends now: what was allocated in it.
    pub(crate) fn close(self) -> Result<Sites, CaptureError> {
        let sampling = self.reader.sampling()?;
        sampling.take();
        let Open { mut sites, dropped_before, .. } =
            sampling.remove(self.number).ok_or(CaptureError::Ended)?;
        sites.end(sampling.session.dropped() - dropped_before);
        Ok(sites)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // It is gone already where the window was closed.
        drop(self.reader.sampling().map(|sampling| sampling.remove(self.number)));
    }
}

impl Sampling {
    fn listen(&self) {
        while !self.is_over.load(Relaxed) {
            self.take();
            let is_seldom = lock(&self.seen).windows.is_empty();
            thread::park_timeout(if is_seldom { FETCH_SELDOM } else { FETCH });
        }
    }

    /// Adds what jemalloc has told.
    fn take(&self) {
        let mut seen = lock(&self.seen);
        let Seen { so_far, windows, .. } = &mut *seen;
        for event in self.session.events() {
            for window in &mut *windows {
                window.sites.add(event.clone());
            }
            so_far.add(event);
        }
    }

    fn remove(&self, number: u64) -> Option<Open> {
        let mut seen = lock(&self.seen);
        let place = seen.windows.iter().position(|open| open.number == number)?;
        Some(seen.windows.remove(place))
    }
}

/// Looks up the names of what is new between two scrapes, so that the next one is answered at once.
/// On a thread of its own: jemalloc's news do not wait for that.
fn name(sampling: &Weak<Sampling>) {
    const EVERY: Duration = Duration::from_secs(2);
    let mut named = 0;
    loop {
        thread::sleep(EVERY);
        // As long as the lock is held sampling does not end: this must not be what holds it last.
        let on = lock(&ON);
        let Some(sampling) = sampling.upgrade() else { return };
        let seen = lock(&sampling.seen);
        let is_due = sampling.is_scraped.load(Relaxed) && seen.so_far.len() > named;
        let stacks = if is_due { seen.so_far.stacks() } else { Vec::new() };
        drop(seen);
        drop(sampling);
        drop(on);
        named = named.max(stacks.len());
        if is_due {
            name_all(stacks.iter());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
