//! A tokio-console without a terminal: the tasks and requests that it would list.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, bail};
use console_api::{
    Field,
    field::{Name, Value},
    instrument::{InstrumentRequest, instrument_client::InstrumentClient},
    tasks::{Stats, Task, TaskUpdate},
};
use tokio::runtime;

/// The rows that tokio-console would show, by the ids of their tasks.
#[derive(Debug, Default)]
pub struct Rows(HashMap<u64, Row>);

/// One row of tokio-console: a task or a request.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Values of the fields by their names, as text.
    pub fields: BTreeMap<String, String>,
    /// File, line and column at which it was spawned; empty if the server does not tell them.
    pub place: String,
    stats: Stats,
}

/// Attaches to the server at `address` and passes each update, one a second, to `see` until that
/// returns true. Fails if it has not after `most` updates.
pub fn attach(
    address: SocketAddr,
    most: usize,
    mut see: impl FnMut(TaskUpdate) -> bool,
) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = InstrumentClient::connect(format!("http://{address}")).await?;
        let mut updates = client.watch_updates(InstrumentRequest {}).await?.into_inner();
        for _ in 0..most {
            let update = updates.message().await?.context("the console's server ended")?;
            if see(update.task_update.unwrap_or_default()) {
                return Ok(());
            }
        }
        bail!("{most} updates were not all")
    })
}

impl Rows {
    /// Adds the new rows of an update, and replaces the statistics of those that it has.
    pub fn update(&mut self, TaskUpdate { new_tasks, stats_update, .. }: TaskUpdate) {
        for Task { id, fields, location, .. } in new_tasks {
            let fields = fields.into_iter().filter_map(named).collect();
            let place = location.map(|place| place.to_string()).unwrap_or_default();
            let row = Row { fields, place, stats: Stats::default() };
            self.0.insert(id.map_or(0, |id| id.id), row);
        }
        for (number, stats) in stats_update {
            if let Some(row) = self.0.get_mut(&number) {
                row.stats = stats;
            }
        }
    }

    /// Rows of requests, which are no tasks.
    pub fn requests(&self) -> impl Iterator<Item = &Row> {
        self.0.values().filter(|row| row.is("kind", "request"))
    }

    /// Rows of tasks, without requests.
    pub fn tasks(&self) -> impl Iterator<Item = &Row> {
        self.0.values().filter(|row| !row.is("kind", "request"))
    }
}

impl Row {
    /// Returns whether a field has this value; false if there is no such field.
    pub fn is(&self, field: &str, value: &str) -> bool {
        self.fields.get(field).is_some_and(|found| found == value)
    }

    /// Name of the task, empty if it has none.
    pub fn name(&self) -> &str {
        self.fields.get("task.name").map_or("", String::as_str)
    }

    /// Returns whether the task was dropped.
    pub fn has_ended(&self) -> bool {
        self.stats.dropped_at.is_some()
    }

    /// Number of polls, 0 if the server has not told it yet.
    pub fn polls(&self) -> u64 {
        self.stats.poll_stats.map_or(0, |stats| stats.polls)
    }

    /// Number of times that the task was woken.
    pub fn wakes(&self) -> u64 {
        self.stats.wakes
    }

    /// Total time in polls, zero if the server has not told it yet.
    pub fn busy(&self) -> Duration {
        let busy = self.stats.poll_stats.and_then(|stats| stats.busy_time);
        busy.and_then(|busy| busy.try_into().ok()).unwrap_or_default()
    }

    /// Total time between wakes and the polls after them, zero if the server has not told it yet.
    pub fn scheduled(&self) -> Duration {
        self.stats.scheduled_time.and_then(|time| time.try_into().ok()).unwrap_or_default()
    }
}

fn named(Field { name, value, .. }: Field) -> Option<(String, String)> {
    let Some(Name::StrName(name)) = name else { return None };
    let value = match value? {
        Value::DebugVal(text) | Value::StrVal(text) => text,
        Value::U64Val(number) => number.to_string(),
        Value::I64Val(number) => number.to_string(),
        Value::BoolVal(value) => value.to_string(),
    };
    Some((name, value))
}
