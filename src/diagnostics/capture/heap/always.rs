//! Memory sampled from the start: a thread takes what jemalloc tells, for as long as the program
//! runs.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::{
    super::{
        CaptureError,
        turn::{Pace, Turn},
    },
    sites::Sites,
};
use crate::diagnostics::sampler::HeapSession;

/// How often it is looked what jemalloc has told.
const FETCH: Duration = Duration::from_millis(10);

/// Samples until dropped.
#[derive(Debug)]
pub(crate) struct Always {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    is_over: AtomicBool,
    session: HeapSession,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    since_the_start: Sites,
    /// Of a capture that runs.
    window: Option<Sites>,
}

/// Of whoever captures a window.
#[derive(Debug)]
pub(crate) struct Listener {
    shared: Arc<Shared>,
}

impl Always {
    pub(crate) fn start() -> Result<Self, CaptureError> {
        let session = HeapSession::open()?.ok_or(CaptureError::Elsewhere)?;
        let seen = Seen { since_the_start: Sites::new(session.interval()), window: None };
        let is_over = AtomicBool::new(false);
        let shared = Arc::new(Shared { is_over, session, seen: Mutex::new(seen) });
        let listening = Arc::clone(&shared);
        thread::Builder::new().name("thermo-heap".to_owned()).spawn(move || {
            while !listening.is_over.load(Relaxed) {
                listening.take();
                thread::sleep(FETCH);
            }
        })?;
        Ok(Self { shared })
    }

    /// What was seen so far.
    pub(crate) fn sites(&self) -> Sites {
        self.shared.take();
        let mut sites = self.shared.seen().since_the_start.clone();
        sites.end(self.shared.session.dropped());
        sites
    }

    pub(crate) fn listener(&self) -> Listener {
        Listener { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Always {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
    }
}

impl Listener {
    /// What is allocated as long as the window is.
    pub(crate) fn follow(&self, turn: &Turn) -> Result<Sites, CaptureError> {
        let Shared { session, .. } = &*self.shared;
        self.shared.take();
        let dropped = session.dropped();
        // In the place of one that nobody waited for any more.
        self.shared.seen().window = Some(Sites::new(session.interval()));
        let pace = Pace::of(turn);
        while pace.wait(FETCH)?.is_some() {}
        self.shared.take();
        let sites = mem::take(&mut self.shared.seen().window);
        let mut sites = sites.ok_or(CaptureError::Superseded)?;
        sites.end(session.dropped() - dropped);
        Ok(sites)
    }
}

impl Shared {
    /// Adds what jemalloc has told.
    fn take(&self) {
        let mut seen = self.seen();
        let Seen { since_the_start, window } = &mut *seen;
        for event in self.session.events() {
            if let Some(window) = window {
                window.add(event.clone());
            }
            since_the_start.add(event);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
