//! Runtimes of the app and threads of theirs, as threads of the app note them.
//!
//! Nothing is asked of a runtime here: who reads the notes looks at its blocking pool, and at its
//! workers.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    thread,
};

#[cfg(sampler)]
use thermograph_sampler::{TaskPlace, storage};
use tokio::runtime::{self, Handle, RuntimeFlavor};

/// Most runtimes that are looked at; further ones are left out.
pub(crate) const RUNTIMES: usize = 16;

/// Runtimes of the app that are known.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<Vec<Noted>>);

/// A runtime, and the name of its threads if a worker noted it.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) runtime: Handle,
    pub(crate) name: Option<String>,
}

/// A thread of a runtime, noted by itself; or a runtime alone.
#[cfg(sampler)]
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) handle: Handle,
    /// `None` if the thread is no worker of it.
    pub(crate) seat: Option<(usize, Seat)>,
    /// Where the number of the noting task stands; `None` if no task noted it.
    pub(crate) places: Option<Vec<TaskPlace>>,
}

/// The thread of a worker.
#[cfg(sampler)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Seat {
    pub(crate) thread: i32,
    /// Its thread-local storage.
    pub(crate) storage: u64,
}

impl Noted {
    /// The runtime of the calling thread, unless it is one of the diagnostics; not on a hot path.
    pub(crate) fn here() -> Option<Self> {
        let runtime = of_app()?;
        // The one worker of a `current_thread` runtime is no thread of its pool.
        let is_of_pool = runtime.runtime_flavor() == RuntimeFlavor::MultiThread
            && runtime::worker_index().is_some();
        let name = if is_of_pool { thread_name() } else { None };
        Some(Self { runtime, name })
    }
}

#[cfg(sampler)]
impl Found {
    /// The calling thread and its runtime, unless it is one of the diagnostics; not on a hot path.
    pub(crate) fn here() -> Option<Self> {
        of_app().map(|handle| Self { handle, seat: Seat::own(), places: None })
    }
}

#[cfg(sampler)]
impl Seat {
    /// The worker that the calling thread is.
    pub(crate) fn own() -> Option<(usize, Self)> {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        Some((runtime::worker_index()?, Self { thread, storage: storage() }))
    }
}

impl Runtimes {
    pub(crate) fn add(&self, noted: Noted) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = waiting.len() < RUNTIMES;
        match waiting.iter_mut().find(|known| known.runtime.id() == noted.runtime.id()) {
            Some(known) => known.name = known.name.take().or(noted.name),
            None if has_room => waiting.push(noted),
            None => {}
        }
    }

    pub(crate) fn take(&self) -> Vec<Noted> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Name of the calling thread as the kernel has it: its first 15 bytes.
pub(crate) fn thread_name() -> Option<String> {
    let thread = thread::current();
    let name = thread.name()?;
    Some(name[..name.floor_char_boundary(15)].to_owned())
}

/// The runtime that the calling thread is in, unless it is one of the diagnostics.
pub(crate) fn of_app() -> Option<Handle> {
    let is_ours = thread::current().name().is_some_and(|name| name.starts_with("thermo"));
    Handle::try_current().ok().filter(|_| !is_ours)
}
