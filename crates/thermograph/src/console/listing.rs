//! Tasks that live when a console attaches, from the table of tasks.
//!
//! Tokio tells of a task when it is spawned, which a console that attaches later has missed. So while
//! one is attached, a thread makes a span of the console's shape for each of those tasks, and drops
//! it when the task is over. It has the task's name and place; its polls are those that the thread
//! finds, four times a second, so that they and their times are fewer than there were. Each row says
//! so.
//!
//! Nothing here is done on the workers, but for a flag on tasks that Tokio tells of itself. A task
//! that is spawned within the millisecond in which the console attaches may be missing.

use std::{
    collections::{HashMap, HashSet},
    panic::Location,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Release},
        },
    },
    thread,
    time::Duration,
};

use thermograph_sampler::Moment;
use tracing::{Span, dispatcher, span::EnteredSpan};

use super::valve::Valve;
use crate::{
    handlers::Overruns,
    log,
    reach::Probe,
    task_table::{
        TASKS, Task,
        places::{PLACES, short},
    },
};

/// Starts the thread that lists tasks, one at a time.
#[derive(Clone, Debug)]
pub(super) struct Lister(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Of the ledger whose tasks are listed.
    overruns: &'static Overruns,
    valve: Valve,
    probe: Probe,
    is_running: AtomicBool,
}

/// The tasks that are listed; dropped on the thread that has made it.
#[derive(Default)]
struct Listing {
    rows: HashMap<u64, Row>,
    /// Tasks past the bound, each of which was counted.
    refused: HashSet<u64>,
}

/// A task's row.
struct Row {
    // First: it is left before its span is closed.
    poll: Option<Poll>,
    span: Span,
}

/// A poll that lasts, in which the span is entered.
struct Poll {
    began: Moment,
    _entered: EnteredSpan,
}

/// Time from one look at the table to the next.
const LOOK: Duration = Duration::from_millis(250);
/// Rows that a look adds: fewer a second than a console takes.
const AT_ONCE: usize = 200;
/// Most rows: each takes 50 KiB of the console's tables.
const MOST: usize = 2000;

impl Lister {
    pub(super) fn new(overruns: &'static Overruns, valve: Valve, probe: Probe) -> Self {
        Self(Arc::new(Shared { overruns, valve, probe, is_running: AtomicBool::new(false) }))
    }

    /// Lists tasks while the gate is open.
    pub(super) fn begin(&self) {
        if self.0.is_running.swap(true, AcqRel) {
            return;
        }
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().name("thermo-tasks".to_owned());
        if let Err(error) = thread.spawn(move || shared.run()) {
            self.0.is_running.store(false, Release);
            log::submit(move || {
                tracing::warn!(
                    %error,
                    "tokio-console does not list tasks spawned before it attached"
                );
            });
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            self.list();
            self.is_running.store(false, Release);
            // Opened again since it was looked at: whoever did so has seen a thread that runs.
            if !self.valve.gate().is_open() || self.is_running.swap(true, AcqRel) {
                return;
            }
        }
    }

    fn list(&self) {
        let mut listing = Listing::default();
        while self.valve.gate().is_open() {
            let mut tasks = TASKS.all();
            tasks.retain(|task| task.row.is_of(self.overruns) && !task.is_told);
            self.in_subscriber(|| listing.update(&tasks, &self.valve));
            thread::sleep(LOOK);
        }
        self.in_subscriber(|| drop(listing));
    }

    /// Runs in the subscriber that has the console's layer; in the global one where the layer did not
    /// come to know its subscriber, as inside of a `Vec` of layers.
    fn in_subscriber(&self, run: impl FnOnce()) {
        match self.probe.subscriber() {
            Some(subscriber) => dispatcher::with_default(&subscriber, run),
            None => run(),
        }
    }
}

impl Listing {
    fn update(&mut self, tasks: &[Task], valve: &Valve) {
        let alive: HashMap<_, _> = tasks.iter().map(|task| (task.number, task)).collect();
        self.rows.retain(|number, _| alive.contains_key(number));
        self.refused.retain(|number| alive.contains_key(number));
        for (number, row) in &mut self.rows {
            row.update(alive[number]);
        }
        let mut new: Vec<_> =
            tasks.iter().filter(|task| !self.rows.contains_key(&task.number)).collect();
        // What runs for long is worth more than one of many connections.
        new.sort_by_key(|task| (task.requests > 0, task.number));
        for task in new.into_iter().take(AT_ONCE) {
            if self.rows.len() >= MOST {
                if self.refused.insert(task.number) {
                    valve.refuse_task();
                }
            } else if let Some(row) = Row::new(task) {
                self.rows.insert(task.number, row);
            }
        }
    }
}

impl Row {
    /// `None` if the subscriber has no console's layer, or this is more than that takes.
    fn new(task: &Task) -> Option<Self> {
        let handler = task.request.unwrap_or(task.row);
        let method = if handler.is_task() { "" } else { handler.method.as_str() };
        let name = format!("{method} {}", handler.route);
        let at = task.place.and_then(|place| PLACES.at(place));
        let age = Duration::from_nanos(Moment::now().since(task.spawned));
        // As Tokio makes one for a task; the target, the name and the fields are the console's.
        let span = tracing::trace_span!(
            target: "tokio::task",
            parent: None,
            "runtime.spawn",
            kind = %"task",
            task.name = %name.trim_start(),
            task.id = task.number,
            spawned = %format_args!("{:.1} s before it was listed", age.as_secs_f64()),
            polls_before = task.polls,
            polls_are = %"those found four times a second",
            loc.file = at.map(|at| short(at.file())),
            loc.line = at.map(Location::line),
            loc.col = at.map(Location::column),
        );
        let number = span.id()?.into_u64();
        // Somebody will wake it: without a waker the console warns that it is lost.
        tracing::trace!(target: "tokio::task::waker", op = "waker.clone", task.id = number);
        if task.polls > 0 && task.thread.is_none() {
            // Without a poll the console says that it waits for its first.
            span.in_scope(|| ());
        }
        let mut row = Self { poll: None, span };
        row.update(task);
        Some(row)
    }

    /// Shows the poll that lasts, if any.
    fn update(&mut self, task: &Task) {
        let is_same = self.poll.as_ref().is_some_and(|poll| poll.began == task.since);
        if !is_same || task.thread.is_none() {
            self.poll = None;
        }
        if task.thread.is_some() && self.poll.is_none() {
            self.poll = Some(Poll { began: task.since, _entered: self.span.clone().entered() });
        }
    }
}
