//! A request's row in tokio-console, which takes it for a task.
//!
//! The console's layer takes a span of a certain shape for a task, the times in which it is entered
//! for the task's polls, and events that name it for the wakes. So a request has a row and stays
//! where it is: in a task of its own it would be off its connection's, which then could not cancel
//! it by dropping it.
//!
//! A row ends with its request. Where a handler hands its span on, with work that goes on after the
//! answer, the row ends with that.

use std::{
    panic::Location,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    task::{Wake, Waker},
};

use http::HeaderValue;
use tokio::task;
use tracing::{Metadata, Span, span};

use crate::handlers::{Budget, Handler};

/// A request's row.
#[derive(Debug)]
pub(crate) struct Row {
    span: Span,
    /// The console's number of the row.
    number: u64,
    /// None before the first poll.
    waker: Option<RowWaker>,
    /// Whether the connection polls it without being woken for it, as it does a response's body.
    by_connection: bool,
}

/// A poll that a row shows, until it is dropped.
#[derive(Debug)]
pub(crate) struct RowPoll<'a> {
    waker: &'a RowWaker,
    by_connection: bool,
    _entered: span::Entered<'a>,
}

/// A waker, and what it has in common with its clones.
#[derive(Debug)]
struct RowWaker {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Debug)]
struct Shared {
    /// Of the task that the request is polled in.
    task: Waker,
    /// The console's number of the row.
    number: u64,
    /// Whether it was woken since it was polled last.
    is_woken: AtomicBool,
    /// Clones that the console knows of.
    told: AtomicUsize,
}

/// Longest part of a request id that is shown: a client may send some kilobytes.
const ID_LENGTH: usize = 128;

// What the console calls what happens to a waker.
const CLONE: &str = "waker.clone";
const DROP: &str = "waker.drop";
/// The console counts this as a drop too.
const WAKE: &str = "waker.wake";
const WAKE_BY_REF: &str = "waker.wake_by_ref";

impl Row {
    /// A row for a request, if there is one left. None either where no console's layer is installed.
    #[cold]
    pub(crate) fn begin(
        budget: &Budget,
        handler: &Handler,
        request_id: Option<&HeaderValue>,
        place: &'static Location<'static>,
    ) -> Option<Self> {
        if !budget.take() {
            return None;
        }
        let row = Self::new(handler, request_id, place);
        if row.is_none() {
            budget.refuse();
        }
        row
    }

    fn new(
        handler: &Handler,
        request_id: Option<&HeaderValue>,
        place: &'static Location<'static>,
    ) -> Option<Self> {
        let request_id = request_id.and_then(|id| id.to_str().ok());
        // As Tokio makes one for a task; the target, the name and the fields are the console's.
        let span = tracing::trace_span!(
            target: "tokio::task",
            parent: None,
            "runtime.spawn",
            kind = %"request",
            task.name = %format_args!("{} {}", handler.method, handler.route),
            task.id = task_number(),
            request_id = request_id.map(|id| &id[..id.len().min(ID_LENGTH)]),
            loc.file = place.file(),
            loc.line = place.line(),
            loc.col = place.column(),
        );
        let number = span.id()?.into_u64();
        Some(Self { span, number, waker: None, by_connection: false })
    }

    /// Whether a span is a request's row, not a task's.
    pub(crate) fn is(span: &Metadata<'_>) -> bool {
        span.module_path() == Some(module_path!())
    }

    /// Shows a poll by a task with this waker, until the guard is dropped. What is polled must get
    /// the guard's waker.
    #[cold]
    pub(crate) fn poll(&mut self, task: &Waker) -> RowPoll<'_> {
        let Self { span, number, waker, by_connection } = self;
        let waker = match waker.take() {
            Some(same) if same.shared.task.will_wake(task) => waker.insert(same),
            other => waker.insert(RowWaker::new(task, *number, other.as_ref())),
        };
        // Polled along with its connection, it was not waiting for that since its last poll, as the
        // console has it of a task that is polled without a wake.
        if !waker.shared.is_woken.swap(false, Acquire) {
            waker.shared.tell(WAKE_BY_REF);
        }
        RowPoll { waker, by_connection: *by_connection, _entered: span.enter() }
    }

    /// From now on the connection polls it of its own accord.
    pub(crate) fn head(&mut self) {
        self.by_connection = true;
        if let Some(waker) = &self.waker {
            waker.settle(true);
        }
    }
}

impl RowPoll<'_> {
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker.waker
    }
}

impl Drop for RowPoll<'_> {
    fn drop(&mut self) {
        self.waker.settle(self.by_connection);
    }
}

impl RowWaker {
    /// A waker for a task, in place of another one.
    fn new(task: &Waker, number: u64, before: Option<&Self>) -> Self {
        // The first poll needs no wake.
        let (is_woken, told) = before.map_or((true, 0), |Self { shared, .. }| {
            (shared.is_woken.load(Acquire), shared.told.load(Relaxed))
        });
        let (is_woken, told) = (AtomicBool::new(is_woken), AtomicUsize::new(told));
        let shared = Arc::new(Shared { task: task.clone(), number, is_woken, told });
        Self { waker: Waker::from(Arc::clone(&shared)), shared }
    }

    /// Tells the console how many clones there are: a safe waker cannot tell of each.
    fn settle(&self, by_connection: bool) {
        // The row's own two do not count.
        let clones = Arc::strong_count(&self.shared).saturating_sub(2);
        let clones = clones + usize::from(by_connection);
        let told = self.shared.told.swap(clones, AcqRel);
        (told..clones).for_each(|_| self.shared.tell(CLONE));
        (clones..told).for_each(|_| self.shared.tell(DROP));
    }
}

impl Shared {
    fn tell(&self, op: &str) {
        tracing::trace!(target: "tokio::task::waker", op, task.id = self.number);
    }

    fn wake_with(&self, op: &str) {
        self.is_woken.store(true, Release);
        self.tell(op);
        self.task.wake_by_ref();
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        let one_less = |told: usize| told.checked_sub(1);
        let is_told = self.told.fetch_update(AcqRel, Acquire, one_less).is_ok();
        self.wake_with(if is_told { WAKE } else { WAKE_BY_REF });
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_with(WAKE_BY_REF);
    }
}

/// Number of the task that is polled: the connection's. Tokio shows it as text only.
fn task_number() -> Option<u64> {
    task::try_id()?.to_string().parse().ok()
}

#[cfg(test)]
mod tests;
