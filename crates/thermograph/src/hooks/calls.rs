//! Which of the four hooks Tokio calls: one that the app replaces on the builder is never called.
//!
//! Each hook sets a flag with its first call, and reads it from then on. What is missing is concluded
//! from the others: a task is spawned before it is polled, and its poll ends after it begins. The
//! end of tasks is missed by count, since a task may live as long as the program.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use thermograph_sampler::Moment;
use tokio::runtime;

/// The installations of one app's hooks.
#[derive(Debug, Default)]
pub(super) struct Installed(Mutex<Vec<Arc<Calls>>>);

/// The calls of the hooks that were installed on one builder.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// True if the app handed over hooks of its own.
    has_own: bool,
    spawned: AtomicBool,
    began: AtomicBool,
    ended: AtomicBool,
    terminated: AtomicBool,
    /// Two polls began on one thread, and none has ended on any.
    is_endless: AtomicBool,
    /// Tasks are over, and none was told of.
    is_immortal: AtomicBool,
    first: OnceLock<Moment>,
    /// Tasks that were spawned until the first one ended.
    tasks: AtomicU64,
    /// How many of them there were when it was looked whether they are still there.
    looked_at: AtomicU64,
}

/// Which hooks are called, of all runtimes that they were installed on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Called {
    /// True if any hook of any runtime was called.
    pub(crate) any: bool,
    /// Kinds of hooks that are not called though they should be, by the builder's method.
    pub(crate) missing: Vec<&'static str>,
    /// True if the app handed over hooks of its own.
    pub(crate) has_own: bool,
}

/// Nanoseconds after the first spawn in which a task must have been polled.
const SOON: u64 = 2_000_000_000;
/// Tasks from which on it is looked whether they are still there.
const SOME: u64 = 16;
/// Installations that are looked at: an app has a few.
const MOST: usize = 64;

impl Installed {
    pub(super) fn begin(&self, has_own: bool) -> Arc<Calls> {
        let calls = Arc::new(Calls { has_own, ..Calls::default() });
        let mut installed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if installed.len() < MOST {
            installed.push(Arc::clone(&calls));
        }
        calls
    }

    pub(super) fn is_any(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn called(&self) -> Called {
        let installed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut called = Called::default();
        for calls in &*installed {
            called.any |= calls.any();
            called.has_own |= calls.has_own;
            called.missing.extend(calls.missing(Moment::now()));
        }
        called.missing.sort_unstable();
        called.missing.dedup();
        called
    }
}

impl Calls {
    #[inline]
    pub(super) fn spawned(&self) {
        first(&self.spawned);
        if !self.terminated.load(Relaxed) {
            self.first.get_or_init(Moment::now);
            self.tasks.fetch_add(1, Relaxed);
        }
    }

    #[inline]
    pub(super) fn began(&self) {
        first(&self.began);
        if !self.terminated.load(Relaxed) {
            self.look();
        }
    }

    /// Returns whether polls are known to begin: the end of one that did not says nothing.
    #[inline]
    pub(super) fn ended(&self) -> bool {
        first(&self.ended);
        self.began.load(Relaxed)
    }

    #[inline]
    pub(super) fn terminated(&self) {
        first(&self.terminated);
    }

    /// A poll begins on a thread where another has not ended. Returns whether that one is over, since
    /// ends are not told.
    #[cold]
    pub(super) fn nested(&self) -> bool {
        let is_endless = !self.ended.load(Relaxed);
        self.is_endless.store(is_endless, Relaxed);
        is_endless
    }

    /// Returns whether the ends of polls are not told.
    #[inline]
    pub(super) fn is_endless(&self) -> bool {
        self.is_endless.load(Relaxed) && !self.ended.load(Relaxed)
    }

    /// Looks whether the tasks are still there of which none is said to be over, on one of the
    /// runtime's workers; each time that there are twice as many.
    #[cold]
    fn look(&self) {
        let tasks = self.tasks.load(Relaxed);
        if tasks < SOME.max(self.looked_at.load(Relaxed).saturating_mul(2)) {
            return;
        }
        self.looked_at.store(tasks, Relaxed);
        let Ok(runtime) = runtime::Handle::try_current() else { return };
        let alive = runtime.metrics().num_alive_tasks() as u64;
        // One builder may build several runtimes: most of all that were spawned must be gone.
        self.is_immortal.store(alive < tasks / 4, Release);
    }

    fn any(&self) -> bool {
        let flags = [&self.spawned, &self.began, &self.ended, &self.terminated];
        flags.into_iter().any(|flag| flag.load(Acquire))
    }

    fn missing(&self, now: Moment) -> impl Iterator<Item = &'static str> + use<> {
        // A later flag first: what comes before it was set before.
        let [terminated, ended, began, spawned] =
            [&self.terminated, &self.ended, &self.began, &self.spawned]
                .map(|flag| flag.load(Acquire));
        let is_late = self.first.get().is_some_and(|first| now.since(*first) > SOON);
        let missing = [
            ("on_task_spawn", !spawned && (began || ended)),
            ("on_before_task_poll", !began && (ended || (spawned && is_late))),
            ("on_after_task_poll", !ended && (self.is_endless() || (spawned && !began && is_late))),
            ("on_task_terminate", !terminated && self.is_immortal.load(Acquire)),
        ];
        missing.into_iter().filter(|(_, is_missing)| *is_missing).map(|(name, _)| name)
    }
}

/// Sets a flag that is set as a rule.
#[inline]
fn first(flag: &AtomicBool) {
    if !flag.load(Relaxed) {
        flag.store(true, Release);
    }
}
