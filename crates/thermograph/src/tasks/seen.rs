//! From lines of the table to rows of a report.

use std::{collections::HashMap, sync::Arc, time::Duration};

use thermograph_profile::Location;
#[cfg(sampler)]
use thermograph_sampler::Why;
use thermograph_sampler::{Moment, Slot, thread_name_or_number};

use super::{SpawnPlace, TaskKind, TaskReport, TaskRequest, TaskRow, TaskState, Tasks, waits};
use crate::{
    class::Class,
    handlers::millis,
    instance::Instance,
    stage::Stage,
    stall::{self, Record, StallFrame},
    task_table::{
        TASKS, Task,
        places::{PLACES, short},
    },
};

/// What tasks answered that were asked where they wait.
#[cfg_attr(not(sampler), expect(dead_code, reason = "tasks are asked where stacks can be read"))]
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// By the number of the task; empty of one that answered without a place.
    pub(super) stacks: HashMap<u64, Vec<Vec<Arc<Location>>>>,
    /// Reasons of those that answered without a place.
    #[cfg(sampler)]
    pub(super) without: HashMap<u64, Why>,
    /// Tasks that did not answer, and are not over.
    pub(super) silent: HashMap<u64, Silence>,
    /// Tasks that were asked.
    pub(super) asked: usize,
    pub(super) waited: Duration,
    /// Answers that found no room.
    pub(super) dropped: u64,
}

/// The reason why a task did not answer.
#[cfg_attr(not(sampler), expect(dead_code, reason = "tasks are asked where stacks can be read"))]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Silence {
    /// It was woken, and no worker has polled it.
    NotPolled,
    /// It was polled, and did not poll the future that is watched.
    NotReached,
    /// Its answers found no room.
    Dropped,
}

/// The tasks of this app's runtimes at a moment.
pub(super) struct Alive {
    now: Moment,
    tasks: Vec<Task>,
}

impl Alive {
    pub(super) fn now(instance: &Instance) -> Self {
        Self { now: Moment::now(), tasks: own(instance) }
    }
}

/// What is told of them; of those of one route only.
pub(super) fn look(
    instance: &Instance,
    route: Option<&str>,
    alive: &Alive,
    answers: Option<&Answers>,
) -> Tasks {
    let stalls = lasting(instance);
    let look = Look { now: alive.now, stalls: &stalls, answers };
    let mut seen: Vec<_> = alive.tasks.iter().map(|task| look.row(task)).collect();
    if let Some(route) = route {
        seen.retain(|(row, _)| row.route == route);
    }
    let waits_less = |row: &TaskRow| (row.state, std::cmp::Reverse(row.since_ms as u64), row.id);
    seen.sort_by_key(|(row, _)| waits_less(row));
    let (tasks, stacks): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    let notes = notes(instance, answers);
    Tasks { report: TaskReport { tasks, unlisted: TASKS.unlisted(), notes }, stacks }
}

/// Tasks of runtimes that have this app's hooks.
pub(super) fn own(instance: &Instance) -> Vec<Task> {
    let overruns = instance.ledger().overruns();
    let mut tasks = TASKS.all();
    tasks.retain(|task| task.row.is_of(overruns));
    tasks
}

/// Stalls that last, by their task, with names.
fn lasting(instance: &Instance) -> HashMap<u64, Arc<Record>> {
    let mut stalls = instance.stalls.store().newest();
    stalls.retain(|record| record.task != 0 && !record.facts().ended);
    stall::name(&stalls);
    stalls.into_iter().map(|record| (record.task, record)).collect()
}

fn notes(instance: &Instance, answers: Option<&Answers>) -> Vec<String> {
    let mut notes = Vec::new();
    if !instance.is_hooked() {
        let note = "no tasks are known: put Thermograph::hooks() on the app's runtime";
        notes.push(note.to_owned());
    }
    if TASKS.unlisted() > 0 {
        let note = format!("{} tasks found no place in the list", TASKS.unlisted());
        notes.push(note);
    }
    if let Some(Answers { silent, asked, waited, dropped, .. }) = answers {
        let seconds = waited.as_secs_f64();
        let of = |why| silent.values().filter(|silence| **silence == why).count();
        let not_polled = of(Silence::NotPolled);
        if not_polled > 0 {
            notes.push(format!(
                "{not_polled} of {asked} tasks that were asked did not answer within \
                 {seconds:.1} s: no worker has polled them, since all are busy"
            ));
        }
        if *dropped > 0 {
            let lost = of(Silence::Dropped);
            notes.push(format!(
                "{dropped} answers were not kept, for want of room; {lost} tasks have none"
            ));
        }
    }
    notes
}

struct Look<'a> {
    now: Moment,
    stalls: &'a HashMap<u64, Arc<Record>>,
    answers: Option<&'a Answers>,
}

impl Look<'_> {
    fn row(&self, task: &Task) -> (TaskRow, Vec<Vec<Arc<Location>>>) {
        let handler = task.request.unwrap_or(task.row);
        let since = |moment: Moment| millis(Duration::from_nanos(self.now.since(moment)));
        let state = if task.thread.is_some() { TaskState::Running } else { TaskState::Waiting };
        let stall = self.stalls.get(&task.number).filter(|_| state == TaskState::Running);
        let stacks = self.stacks(task, stall);
        let frames = stacks.first().into_iter().flatten().flat_map(|location| &location.frames);
        let spawned_at = task.place.and_then(|place| PLACES.at(place));
        let name = format!("{} {}", handler.method, handler.route);
        let row = TaskRow {
            id: task.number,
            name: name.strip_prefix("TASK ").unwrap_or(&name).to_owned(),
            kind: kind(task),
            method: handler.method.to_string(),
            route: handler.route.to_string(),
            spawned_at: spawned_at
                .map(|at| SpawnPlace { file: short(at.file()).to_owned(), line: at.line() }),
            state,
            thread: task.thread.and_then(Slot::thread).map(thread_name_or_number),
            since_ms: since(task.since),
            age_ms: since(task.spawned),
            polls: task.polls,
            busy_ms: millis(Duration::from_nanos(task.busy_ns)),
            request: task.request.map(|_| request(task, stall, since)),
            waits_for: self.waits_for(task, stall, &stacks),
            stack: frames.map(StallFrame::of).collect(),
        };
        (row, stacks)
    }

    /// Where it waits, or where the thread stands that it stalls.
    fn stacks(&self, task: &Task, stall: Option<&Arc<Record>>) -> Vec<Vec<Arc<Location>>> {
        if let Some(stall) = stall {
            return stall.facts().named.iter().map(|stack| stack.to_vec()).collect();
        }
        // A connection that waits for its next request has answered for the last one.
        let waits = task.thread.is_none() && task.waits.is_some();
        let answer = self.answers.and_then(|answers| answers.stacks.get(&task.number));
        answer.filter(|_| waits).cloned().unwrap_or_default()
    }

    fn waits_for(
        &self,
        task: &Task,
        stall: Option<&Arc<Record>>,
        stacks: &[Vec<Arc<Location>>],
    ) -> Option<String> {
        if let Some(stall) = stall {
            let facts = stall.facts();
            return Some(match (facts.class, facts.syscall) {
                (Class::Blocked, Some(syscall)) => format!("{syscall}, which blocks its worker"),
                (Class::Blocked, None) => "something that blocks its worker".to_owned(),
                (Class::Cpu, _) => "nothing: it computes on its worker".to_owned(),
                (Class::Preempted, _) => "a processor: its thread is not run".to_owned(),
                (Class::Unknown, _) => return None,
            });
        }
        if task.thread.is_some() {
            return None;
        }
        if !stacks.is_empty() {
            let mut places: Vec<_> = stacks.iter().map(|stack| waits::told(stack)).collect();
            places.dedup();
            return Some(places.join(", or "));
        }
        let Some(waits) = &task.waits else {
            let is_idle = task.requests > 0 && task.request.is_none();
            return is_idle.then(|| "the next request of its connection".to_owned());
        };
        let answered = self.answers.and_then(|answers| answers.told(task.number, waits.stage));
        answered.map(str::to_owned).or_else(|| {
            (waits.stage == Stage::Body).then(|| "more of its body, or its client".to_owned())
        })
    }
}

impl Answers {
    /// What is told of a task that gave no place that it waits in.
    fn told(&self, task: u64, stage: Stage) -> Option<&'static str> {
        #[cfg(sampler)]
        if let Some(why) = self.without.get(&task) {
            return Some(match why {
                Why::NoWaker => {
                    "nothing that could wake it: polled again, it took no waker, as \
                     `std::future::pending()` does (or kept one from before)"
                }
                Why::Woken => "nothing but its turn: it has woken itself",
                Why::Unread => "something: its stack could not be read",
            });
        }
        Some(match (self.silent.get(&task)?, stage) {
            (Silence::NotPolled, _) => "it did not answer: its worker is busy",
            (Silence::NotReached, Stage::Body) => {
                "its client: its connection did not ask for more of its body"
            }
            (Silence::NotReached, Stage::Handler | Stage::Labelled) => {
                "something around it: its task was polled, and did not poll it"
            }
            (Silence::Dropped, _) => "it answered, and the answer was not kept, for want of room",
        })
    }
}

fn kind(task: &Task) -> TaskKind {
    match task {
        Task { requests: 1.., .. } => TaskKind::Request,
        Task { row, .. } if !row.is_task() => TaskKind::Spawned,
        _ => TaskKind::Other,
    }
}

fn request(task: &Task, stall: Option<&Arc<Record>>, since: impl Fn(Moment) -> f64) -> TaskRequest {
    let waits = task.waits.as_ref().filter(|waits| waits.stage != Stage::Labelled);
    let id = waits.and_then(|waits| waits.id.as_ref());
    let id = id.and_then(|id| id.to_str().ok().map(str::to_owned));
    let is_body = waits.is_some_and(|waits| waits.stage == Stage::Body);
    TaskRequest {
        id: id.or_else(|| stall.and_then(|stall| stall.facts().request_id.clone())),
        stage: if is_body { "body" } else { "handler" }.to_owned(),
        age_ms: waits.map(|waits| since(waits.began)),
    }
}
