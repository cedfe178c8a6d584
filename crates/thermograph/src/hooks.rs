//! A Tokio runtime's hooks: whose work each task does, whatever spawned it.
//!
//! The [layer](crate::Thermograph::layer) sees the polls of requests. The hooks see
//! those of tasks: one that was spawned while a handler was at work has the handler's name, any
//! other has the method `TASK` and, for a route, the place in the code where it was spawned. So a
//! task that blocks is a stall with a name, and CPU samples of it carry the name. A request's own
//! poll, inside the poll of its connection's task, hides that and is not charged to it.
//!
//! ```no_run
//! use thermograph::Thermograph;
//! use tokio::runtime;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let thermograph = Thermograph::builder().build()?;
//! let mut builder = runtime::Builder::new_multi_thread();
//! // Hooks of your own go through here.
//! let hooks = thermograph.hooks().on_task_spawn(|task| println!("spawned {}", task.id()));
//! hooks.install(builder.enable_all());
//! let runtime = builder.build()?;
//! # drop(runtime); Ok(()) }
//! ```
//!
//! Tokio keeps one hook of each kind, and setting one replaces the one before it, silently. So
//! [`install`](Hooks::install) replaces hooks that the app had set on the builder before, which it
//! cannot see: hand them to [`Hooks`] instead. Hooks that the app sets on the builder afterwards
//! replace those of the diagnostics, unless they call the [`Callbacks`] that `install` returns; the
//! [doctor](crate::doctor) reports hooks that are never called.
//!
//! They also tell how long each task waited for a worker, which is what a stall costs the others:
//! the *harm* of a handler. That is two readings of the system's clock for each poll of a task.
//!
//! What they do not do:
//!
//! - Of a task's polls they count only those over the threshold in the row of its handler, unless
//!   the task is [labelled](crate::label::future).
//! - Tokio does not call them for `spawn_blocking`
//!   ([`label::blocking`](crate::label::blocking) names that), for the future given to
//!   `block_on`, or in a `LocalSet`.
//! - A task that is polled inside of another poll on the same thread is part of that poll.
//! - They list 16,384 tasks at a time, for the whole process; what is past that is counted in
//!   `/metrics`, is not in `/debug/tasks`, and goes by the place where it was spawned. Each such
//!   place takes a row of the ledger's bound.

mod calls;
mod origins;
mod outermost;

use std::{
    fmt,
    hash::{Hash as _, Hasher},
    mem,
    sync::Arc,
};

use tokio::{
    runtime::{self, TaskMeta},
    task,
};

use thermograph_sampler::{Moment, Slot};

pub(crate) use self::calls::Called;
use self::{calls::Calls, origins::Origins};
#[cfg(schedule_latency)]
use crate::handlers::nanoseconds;
use crate::{
    gate::Gate,
    handlers::{Handler, Ledger},
    task_table::{TASKS, places::PLACES},
};

/// Hooks for a Tokio runtime; made by [`Thermograph::hooks`].
///
/// Tokio has one place for each of the four. Set yours with the methods of the same name: ours begins
/// before yours and ends after it. Hooks that were set on the runtime's builder before
/// [`install`](Hooks::install) are replaced by it; hooks that are set there afterwards must call the
/// [`Callbacks`] that it returns.
///
/// [`Thermograph::hooks`]: crate::Thermograph::hooks
#[must_use = "hooks do nothing unless installed"]
pub struct Hooks {
    shared: Arc<Shared>,
    spawn: Option<Hook>,
    before: Option<Hook>,
    after: Option<Hook>,
    terminate: Option<Hook>,
}

/// What the hooks of all runtimes share.
#[derive(Debug)]
pub(crate) struct Shared {
    #[cfg(schedule_latency)]
    ledger: &'static Ledger,
    origins: Origins,
    calls: calls::Installed,
    /// Open while Tokio tells tokio-console of the tasks that it spawns.
    console: Gate,
}

/// One of the user's.
type Hook = Box<dyn Fn(&TaskMeta<'_>) + Send + Sync>;

impl Hooks {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, spawn: None, before: None, after: None, terminate: None }
    }

    /// Sets a hook of your own, called when a task is spawned; replaces an earlier one.
    pub fn on_task_spawn(mut self, hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.spawn = Some(Box::new(hook));
        self
    }

    /// Sets a hook of your own, called before each poll of a task; replaces an earlier one. Its
    /// time is part of the poll.
    pub fn on_before_task_poll(
        mut self,
        hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.before = Some(Box::new(hook));
        self
    }

    /// Sets a hook of your own, called after each poll of a task; replaces an earlier one. Its time
    /// is part of the poll.
    pub fn on_after_task_poll(
        mut self,
        hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.after = Some(Box::new(hook));
        self
    }

    /// Sets a hook of your own, called when a task is over; replaces an earlier one. Tokio calls it
    /// for blocking tasks too, its workers among them.
    pub fn on_task_terminate(
        mut self,
        hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.terminate = Some(Box::new(hook));
        self
    }

    /// Sets all four hooks of a runtime that is to be built, in place of those that were set on the
    /// builder before: Tokio does not say whether there were any.
    ///
    /// An app that sets a hook on the builder afterwards, which replaces the one here, calls the
    /// one of the same kind of the returned [`Callbacks`] in it:
    ///
    /// ```no_run
    /// # let thermograph = thermograph::Thermograph::builder().build().expect("valid");
    /// # let mut builder = tokio::runtime::Builder::new_multi_thread();
    /// let callbacks = thermograph.hooks().install(&mut builder);
    /// builder.on_task_spawn(move |task| {
    ///     callbacks.task_spawned(task);
    ///     println!("spawned {}", task.id());
    /// });
    /// ```
    pub fn install(self, runtime: &mut runtime::Builder) -> Callbacks {
        let Self { shared, spawn, before, after, terminate } = self;
        #[cfg(schedule_latency)]
        {
            runtime.track_task_schedule_latency();
            shared.ledger.waits().are_told();
        }
        let has_own = [&spawn, &before, &after, &terminate].into_iter().any(Option::is_some);
        let calls = shared.calls.begin(has_own);
        let callbacks = Callbacks { shared, calls };
        let [spawned, began, ended, over] = [(); 4].map(|()| callbacks.clone());
        runtime
            .on_task_spawn(move |task| {
                spawned.task_spawned(task);
                call(spawn.as_ref(), task);
            })
            .on_before_task_poll(move |task| {
                began.before_task_poll(task);
                // A panic in it ends the worker, and with it the poll.
                let poll = Polled { task: number(task.id()), calls: &began.calls };
                call(before.as_ref(), task);
                mem::forget(poll);
            })
            .on_after_task_poll(move |task| {
                let _poll = Polled { task: number(task.id()), calls: &ended.calls };
                call(after.as_ref(), task);
            })
            .on_task_terminate(move |task| {
                over.task_terminated(task);
                call(terminate.as_ref(), task);
            });
        callbacks
    }
}

/// The hooks of the diagnostics, to be called from hooks of the app's own; returned by
/// [`Hooks::install`].
///
/// Each is called from the hook of its kind, on the thread that Tokio calls that on, once: before
/// the app's own work, but for [`after_task_poll`](Self::after_task_poll), which comes after it.
#[derive(Clone)]
pub struct Callbacks {
    shared: Arc<Shared>,
    calls: Arc<Calls>,
}

impl Callbacks {
    /// To be called from the hook that is set with
    /// [`on_task_spawn`](runtime::Builder::on_task_spawn).
    pub fn task_spawned(&self, task: &TaskMeta<'_>) {
        self.calls.spawned();
        self.shared.spawned(task);
    }

    /// To be called from the hook that is set with
    /// [`on_before_task_poll`](runtime::Builder::on_before_task_poll).
    pub fn before_task_poll(&self, task: &TaskMeta<'_>) {
        #[cfg(schedule_latency)]
        let waited = task.schedule_latency().map(nanoseconds);
        #[cfg(not(schedule_latency))]
        let waited = None;
        self.calls.began();
        let number = number(task.id());
        let origin = || self.shared.origins.row(task.spawned_at());
        outermost::begin(number, waited, &self.calls, origin);
    }

    /// To be called from the hook that is set with
    /// [`on_after_task_poll`](runtime::Builder::on_after_task_poll).
    pub fn after_task_poll(&self, task: &TaskMeta<'_>) {
        drop(Polled { task: number(task.id()), calls: &self.calls });
    }

    /// To be called from the hook that is set with
    /// [`on_task_terminate`](runtime::Builder::on_task_terminate).
    pub fn task_terminated(&self, task: &TaskMeta<'_>) {
        self.calls.terminated();
        TASKS.remove(number(task.id()));
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(ledger: &'static Ledger, console: Gate) -> Self {
        Self {
            #[cfg(schedule_latency)]
            ledger,
            origins: Origins::new(ledger),
            calls: calls::Installed::default(),
            console,
        }
    }

    /// Returns whether the hooks were installed on any runtime.
    pub(crate) fn is_installed(&self) -> bool {
        self.calls.is_any()
    }

    /// Which hooks have been called, over all runtimes that they were installed on.
    pub(crate) fn called(&self) -> Called {
        self.calls.called()
    }

    fn spawned(&self, task: &TaskMeta<'_>) {
        let at = task.spawned_at();
        let at_work = Handler::at_work_on(Slot::current()).filter(|handler| !handler.is_task());
        let row = at_work.unwrap_or_else(|| self.origins.row(at));
        let number = number(task.id());
        TASKS.add(number, row, PLACES.number(at), Moment::now());
        if self.console.is_open() {
            TASKS.told(number);
        }
    }
}

/// A poll of the task of this number, which ends when this is dropped.
struct Polled<'a> {
    task: u64,
    calls: &'a Calls,
}

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        if self.calls.ended() {
            outermost::end(self.task);
        }
    }
}

#[inline]
fn call(hook: Option<&Hook>, task: &TaskMeta<'_>) {
    if let Some(hook) = hook {
        hook(task);
    }
}

/// Tokio's number of a task, never 0. Tokio shows it as text only, and to a hasher.
#[inline]
fn number(task: task::Id) -> u64 {
    let mut number = Number(0);
    task.hash(&mut number);
    number.finish()
}

/// A hasher of one number: it is its own hash.
struct Number(u64);

impl Hasher for Number {
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write(&mut self, bytes: &[u8]) {
        // A future Tokio's, if ever: still one number for each task.
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.0 = bytes.iter().fold(0xcbf2_9ce4_8422_2325 ^ self.0, add);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
