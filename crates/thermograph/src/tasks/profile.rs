//! Tasks as a profile: what Go's tools call goroutines.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use thermograph_profile::{Frame, Location, Profile, Sample, ValueType};

use super::{SpawnPlace, TaskRow, TaskState, Tasks};

impl Tasks {
    /// One sample a task, by where it waits or stalls, and else by where it was spawned.
    pub(crate) fn profile(&self) -> Profile {
        let tasks = self.report.tasks.iter().zip(&self.stacks);
        let samples = tasks.map(|(row, stacks)| Sample {
            stack: stacks.first().cloned().unwrap_or_else(|| vec![row.place()]),
            values: vec![1],
            labels: row.labels(),
        });
        let count = ValueType { kind: "tasks", unit: "count" };
        Profile {
            values: vec![count],
            samples: samples.collect(),
            start: SystemTime::now(),
            duration: Duration::ZERO,
            period: Some((count, 1)),
            dropped: self.report.unlisted,
        }
    }
}

impl TaskRow {
    fn labels(&self) -> Vec<(&'static str, String)> {
        let mut labels = vec![
            ("route", self.route.clone()),
            ("method", self.method.clone()),
            ("state", self.state.name().to_owned()),
        ];
        labels.extend(self.thread.iter().map(|thread| ("thread", thread.clone())));
        labels
    }

    /// Where it was spawned, as the function that it stands in.
    fn place(&self) -> Arc<Location> {
        let frame = match &self.spawned_at {
            Some(SpawnPlace { file, line }) => {
                let name = format!("task spawned at {file}:{line}");
                Frame { file: file.clone(), line: *line, ..Frame::named(&name) }
            }
            None => Frame::named("task"),
        };
        Arc::new(Location::named(frame))
    }
}

impl TaskState {
    /// Its name, as labels have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
        }
    }
}
