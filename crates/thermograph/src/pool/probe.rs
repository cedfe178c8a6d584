//! One empty piece of work in the queue of a blocking pool, which tells how long work waits there.

use std::{
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::runtimes::thread_name;

/// A piece of work that was queued and does nothing but tell when it started.
///
/// It holds nothing of the runtime. A runtime that shuts down drops it unrun with the rest of its
/// queue.
#[derive(Debug)]
pub(super) struct Probe {
    queued_at: Instant,
    started: Receiver<Started>,
}

#[derive(Debug)]
struct Started {
    at: Instant,
    /// Name of the thread that runs it.
    thread: Option<String>,
}

/// How far a probe is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// It is queued, for so long.
    Queued(Duration),
    /// It started after so long, on a thread of this name.
    Started(Duration, Option<String>),
    /// The runtime dropped it.
    Dropped,
}

impl Probe {
    /// Queues one. Tokio's lock on the queue is held for as long as any `spawn_blocking` holds it.
    pub(super) fn queue(runtime: &Handle) -> Self {
        // Room for the message: the pool's thread never waits for it to be read.
        let (tell, started) = sync_channel(1);
        let queued_at = Instant::now();
        drop(runtime.spawn_blocking(move || {
            let thread = thread_name();
            // The watcher may have ended.
            let _ = tell.try_send(Started { at: Instant::now(), thread });
        }));
        Self { queued_at, started }
    }

    pub(super) fn progress(&self, now: Instant) -> Progress {
        match self.started.try_recv() {
            Ok(Started { at, thread }) => {
                Progress::Started(at.saturating_duration_since(self.queued_at), thread)
            }
            Err(TryRecvError::Empty) => {
                Progress::Queued(now.saturating_duration_since(self.queued_at))
            }
            Err(TryRecvError::Disconnected) => Progress::Dropped,
        }
    }
}
