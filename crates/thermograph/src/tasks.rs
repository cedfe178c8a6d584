//! What every task of the app is, what it does now, and what it waits for.
//!
//! The runtime's hooks (`Thermograph::hooks`, with `tokio_unstable`) list every task that is
//! spawned; the layer says which of them work on requests. The list is there at once, also while
//! every worker is blocked: nothing is asked of the tasks themselves.
//!
//! Where asked to (`full`), requests and [labelled](super::label::future) futures are polled once
//! more, and seen where they wait: see [`TaskRow::stack`]. It is a spurious wake-up, which every
//! future must cope with, a few a millisecond; a task whose worker is busy does not answer, and
//! that is said.
//!
//! It does not show tasks of a `LocalSet`, nor the future given to `block_on`, which Tokio does not
//! tell of; nor can it tell a task that waits from one that is ready and waits for a worker.

#[cfg(all(sampler, tokio_unstable))]
mod ask;
mod profile;
#[cfg(tokio_unstable)]
mod seen;
mod text;
#[cfg(tokio_unstable)]
mod waits;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thermograph_profile::Location;

use super::{
    capture::{CaptureError, Window},
    stall::StallFrame,
};
use crate::instance::Instance;

/// Tasks at a moment: those that are polled first, then those that wait, the longest first.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TaskReport {
    /// Those that are listed.
    pub tasks: Vec<TaskRow>,
    /// Tasks since the start of the process that found no place in the list.
    pub unlisted: u64,
    /// What is missing, and why.
    pub notes: Vec<String>,
}

/// One task.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TaskRow {
    /// Tokio's number of the task.
    pub id: u64,
    /// The handler that it works for, or else where it was spawned.
    pub name: String,
    /// What it is there for.
    pub kind: TaskKind,
    /// Method of the handler; `TASK` where it works for none.
    pub method: String,
    /// Matched path of the handler; where the task was spawned, where it works for none.
    pub route: String,
    /// Where in the code it was spawned.
    pub spawned_at: Option<SpawnPlace>,
    /// Whether it is polled now.
    pub state: TaskState,
    /// Name of the thread that polls it.
    pub thread: Option<String>,
    /// For how long it has been polled, or has waited, in milliseconds.
    pub since_ms: f64,
    /// How long ago it was spawned, in milliseconds.
    pub age_ms: f64,
    /// Polls that have ended.
    pub polls: u64,
    /// Time in polls, in milliseconds.
    pub busy_ms: f64,
    /// The request that it works on.
    pub request: Option<TaskRequest>,
    /// What it waits for, as far as that is known.
    pub waits_for: Option<String>,
    /// Of a task that waits and was asked: the futures that it awaits through, the innermost first.
    /// Of one that stalls: where its thread stands.
    pub stack: Vec<StallFrame>,
}

/// What a task is there for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// A connection, or a stream of one: it has worked on requests.
    Request,
    /// Work that a handler has spawned.
    Spawned,
    /// Anything else.
    Other,
}

/// Whether a task is polled.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// A thread polls it.
    Running,
    /// It waits to be woken, or is ready and waits for a worker.
    Waiting,
}

/// A place in the code.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SpawnPlace {
    /// Source file; a dependency's begins with its name and version.
    pub file: String,
    /// Line in the file.
    pub line: u32,
}

/// The request that a task works on.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TaskRequest {
    /// What the client calls it, by its `x-request-id`.
    pub id: Option<String>,
    /// How far it is, in a word: `handler` or `body`.
    pub stage: String,
    /// How long ago its handler was first polled, in milliseconds; none of one that has not waited
    /// yet.
    pub age_ms: Option<f64>,
}

/// The names of what a task awaits whose work is done on a thread of the blocking pool, or may be.
const JOIN: &str = "another task, or blocking work";
const FILE: &str = "a file";

/// Returns whether what a task [waits for](TaskRow::waits_for) is work of a blocking pool, or may be.
pub(crate) fn awaits_blocking_work(waits_for: &str) -> bool {
    [JOIN, FILE].iter().any(|what| waits_for.starts_with(what))
}

/// A report, and with it the stacks with their addresses: several where a task waits for several
/// things at once.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) report: TaskReport,
    /// One for each task.
    stacks: Vec<Vec<Vec<Arc<Location>>>>,
}

impl Tasks {
    /// The tasks of this app's runtimes; those of one route only.
    ///
    /// To put names to stacks takes time: not for a worker, nor for the door's thread.
    pub(crate) fn of(instance: &Instance, route: Option<&str>) -> Self {
        #[cfg(tokio_unstable)]
        return seen::look(instance, route, &seen::Alive::now(instance), None);
        #[cfg(not(tokio_unstable))]
        {
            let _ = (instance, route);
            let note = "no tasks are known: this program was built without --cfg tokio_unstable";
            let report =
                TaskReport { tasks: Vec::new(), unlisted: 0, notes: vec![note.to_owned()] };
            Self { report, stacks: Vec::new() }
        }
    }

    /// The same, after those that wait were asked where.
    pub(crate) async fn asked(
        instance: &Instance,
        route: Option<String>,
        window: Window,
    ) -> Result<Self, CaptureError> {
        #[cfg(all(sampler, tokio_unstable))]
        {
            let turn = instance.asking.take(window).await?;
            let instance = instance.clone();
            turn.run(move |turn| ask::ask(&instance, route.as_deref(), turn)).await
        }
        #[cfg(not(all(sampler, tokio_unstable)))]
        {
            let _ = (instance, route, window);
            let needs = "await stacks need Linux on x86-64 or ARM64, and --cfg tokio_unstable";
            Err(CaptureError::NoStacks(needs.to_owned()))
        }
    }
}
