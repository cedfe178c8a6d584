//! A thread with a runtime of its own: what is asked of the database is read and decoded there, and
//! not on a worker.

use std::{
    io,
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{Builder, Handle},
    task,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A thread on which futures run, until it is stopped or dropped.
pub(super) struct Home {
    handle: Handle,
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
    _guard: DropGuard,
}

impl Home {
    /// Starts it; `main` runs there, and has until its own end once the token is cancelled.
    pub(super) fn start<F: Future<Output = ()>>(
        name: &str,
        main: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(main(stopped)))?;
        let guard = stop.clone().drop_guard();
        Ok(Self { handle, stop, thread: Mutex::new(Some(thread)), _guard: guard })
    }

    /// One on which nothing runs but what is asked of it.
    pub(super) fn idle(name: &str) -> io::Result<Self> {
        Self::start(name, |stop| async move { stop.cancelled().await })
    }

    /// Runs a future there: it is large, and so no part of what waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> task::JoinHandle<T> {
        self.handle.spawn(future)
    }

    /// The same for who may block; not for a thread of a runtime.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.spawn(async move {
            // Who asked waits for it.
            let _ = sender.send(future.await);
        });
        receiver.recv().ok()
    }

    /// Runs a future there, and does not wait for it.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        // It goes on without its handle.
        drop(self.handle.spawn(future));
    }

    /// Ends it, and waits for that; blocks while it does.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic on it was reported.
            let _ = thread.join();
        }
    }
}
