//! Tasks for a terminal: by name first, then those that matter one by one.

use std::{collections::HashMap, fmt};

use thermograph_profile::plumbing;

use super::{SpawnPlace, TaskKind, TaskReport, TaskRow, TaskState};
use crate::handlers::table::millis;

/// Tasks that are shown one by one; the others are in JSON.
const SHOWN: usize = 50;
/// Functions of the app's own that are shown of a stack.
const FRAMES: usize = 12;

/// Tasks of one name.
#[derive(Default)]
struct Group {
    tasks: usize,
    running: usize,
    /// Of those that wait.
    longest_ms: f64,
    polls: u64,
    busy_ms: f64,
}

impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.tasks.iter().filter(|task| task.state == TaskState::Running).count();
        writeln!(f, "{} tasks, {running} of them running", self.tasks.len())?;
        if !self.tasks.is_empty() {
            self.groups(f)?;
            writeln!(f)?;
        }
        for task in self.tasks.iter().take(SHOWN) {
            write!(f, "{task}")?;
        }
        if let Some(more) = self.tasks.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            writeln!(f, "and {more} more, which have waited for less: format=json has them")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl TaskReport {
    /// Tasks by name and kind, the most first.
    fn groups(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: HashMap<(&str, TaskKind), Group> = HashMap::new();
        for task in &self.tasks {
            let group = groups.entry((&task.name, task.kind)).or_default();
            group.tasks += 1;
            group.polls += task.polls;
            group.busy_ms += task.busy_ms;
            match task.state {
                TaskState::Running => group.running += 1,
                TaskState::Waiting => group.longest_ms = group.longest_ms.max(task.since_ms),
            }
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by(|(a, one), (b, other)| other.tasks.cmp(&one.tasks).then(a.cmp(b)));
        let (head, last) = (["tasks", "running", "waits ms", "polls", "busy ms"], "kind     name");
        writeln!(f, "{}  {last}", cells(&head.map(str::to_owned)))?;
        for ((name, kind), group) in groups {
            let Group { tasks, running, longest_ms, polls, busy_ms } = group;
            let row = [
                tasks.to_string(),
                running.to_string(),
                millis(longest_ms),
                polls.to_string(),
                millis(busy_ms),
            ];
            writeln!(f, "{}  {:7}  {name}", cells(&row), kind.name())?;
        }
        writeln!(f, "waits ms: the longest that one of them has waited; busy: time in polls")
    }
}

impl fmt::Display for TaskRow {
    /// A line that says what it is and does, one what it waits for, and the stack.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, state, since_ms, age_ms, polls, busy_ms, .. } = self;
        write!(f, "{id}: {name}")?;
        if let Some(request) = &self.request {
            if let Some(id) = &request.id {
                write!(f, ", request id {id}")?;
            }
            write!(f, ", in its {}", request.stage)?;
        }
        write!(f, ": {} ", state.name())?;
        if let Some(thread) = &self.thread {
            write!(f, "on {thread} ")?;
        }
        writeln!(
            f,
            "for {} ms (age {} s, {polls} polls, busy {} ms)",
            millis(*since_ms),
            millis(age_ms / 1e3),
            millis(*busy_ms)
        )?;
        if let Some(SpawnPlace { file, line }) = &self.spawned_at
            && !self.name.starts_with(file.as_str())
        {
            writeln!(f, "    spawned at {file}:{line}")?;
        }
        if let Some(waits_for) = &self.waits_for {
            writeln!(f, "    waits for {waits_for}")?;
        }
        // What libraries, runtime and system do in between is in JSON.
        let own = self.stack.iter().filter(|frame| plumbing::is_own(&frame.function, &frame.file));
        let own: Vec<_> = own.take(FRAMES).collect();
        for frame in &own {
            writeln!(f, "        {} ({}:{})", frame.function, frame.file, frame.line)?;
        }
        if let Some(more) = self.stack.len().checked_sub(own.len()).filter(|more| *more > 0) {
            writeln!(f, "        and {more} frames of libraries, runtime and system")?;
        }
        Ok(())
    }
}

impl TaskKind {
    fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Spawned => "spawned",
            Self::Other => "other",
        }
    }
}

fn cells(cells: &[String; 5]) -> String {
    cells.iter().map(|cell| format!("{cell:>8}")).collect::<Vec<_>>().join("  ")
}
