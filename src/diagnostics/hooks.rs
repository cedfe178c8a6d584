//! A Tokio runtime's hooks: whose work each task does, whatever spawned it.
//!
//! The [layer](crate::diagnostics::Thermograph::layer) sees the polls of requests. The hooks see
//! those of tasks: one that was spawned while a handler was at work has the handler's name, any
//! other has the method `TASK` and, for a route, the place in the code where it was spawned. So a
//! task that blocks is a stall with a name, and CPU samples of it carry the name. A request's own
//! poll, inside the poll of its connection's task, hides that and is not charged to it.
//!
//! ```no_run
//! use thermograph::diagnostics::Thermograph;
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
//! They also tell how long each task waited for a worker, which is what a stall costs the others:
//! the *harm* of a handler. That is two readings of the system's clock for each poll of a task.
//!
//! What they do not do:
//!
//! - They count nothing in the ledger: a task's polls are not the handler's row, unless it is
//!   [labelled](crate::diagnostics::label::future).
//! - Tokio does not call them for `spawn_blocking`
//!   ([`label::blocking`](crate::diagnostics::label::blocking) names that), for the future given to
//!   `block_on`, or in a `LocalSet`.
//! - A task that is polled inside of another poll on the same thread is part of that poll.
//! - They list 16,384 tasks at a time, for the whole process; what is past that is counted in
//!   `/metrics`, is not in `/debug/tasks`, and goes by the place where it was spawned. Each such
//!   place takes a row of the ledger's bound.

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

use self::origins::Origins;
use super::{
    tasks::{places::PLACES, table::TASKS},
    watch::{Ledger, Moment, Slot},
};

/// Hooks for a Tokio runtime; made by [`Thermograph::hooks`].
///
/// Tokio has one place for each of the four: a hook that is set on the runtime's builder itself,
/// after [`install`](Hooks::install), replaces the one here. Set yours with the methods of the same
/// name: ours begins before yours and ends after it.
///
/// [`Thermograph::hooks`]: crate::diagnostics::Thermograph::hooks
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

    /// Sets all four hooks of a runtime that is to be built.
    pub fn install(self, runtime: &mut runtime::Builder) {
        let Self { shared, spawn, before, after, terminate } = self;
        let spawned = Arc::clone(&shared);
        #[cfg(schedule_latency)]
        {
            runtime.track_task_schedule_latency();
            shared.ledger.waits().are_told();
        }
        runtime
            .on_task_spawn(move |task| {
                spawned.spawned(task);
                call(spawn.as_ref(), task);
            })
            .on_before_task_poll(move |task| {
                #[cfg(schedule_latency)]
                if let Some(waited) = task.schedule_latency() {
                    shared.ledger.waits().ended(waited);
                }
                let number = number(task.id());
                outermost::begin(number, || shared.origins.row(task.spawned_at()));
                // A panic in it ends the worker, and with it the poll.
                let poll = Polled(number);
                call(before.as_ref(), task);
                mem::forget(poll);
            })
            .on_after_task_poll(move |task| {
                let _poll = Polled(number(task.id()));
                call(after.as_ref(), task);
            })
            .on_task_terminate(move |task| {
                TASKS.remove(number(task.id()));
                call(terminate.as_ref(), task);
            });
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self {
            #[cfg(schedule_latency)]
            ledger,
            origins: Origins::new(ledger),
        }
    }

    fn spawned(&self, task: &TaskMeta<'_>) {
        let at = task.spawned_at();
        let at_work = Slot::current().handler().filter(|handler| !handler.is_task());
        let row = at_work.unwrap_or_else(|| self.origins.row(at));
        TASKS.add(number(task.id()), row, PLACES.number(at), Moment::now());
    }
}

/// A poll of the task of this number, which ends when this is dropped.
struct Polled(u64);

impl Drop for Polled {
    fn drop(&mut self) {
        outermost::end(self.0);
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
