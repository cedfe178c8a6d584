//! One setting that all specimens are called in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Whether the app's runtime has hooks, how many workers it has, and what else the machine does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Cell {
    pub(crate) hooks: bool,
    pub(crate) workers: usize,
    /// Processes beside that take all the time of a processor that they are given.
    pub(crate) hogs: usize,
    /// Whether it is built with `tokio_unstable`.
    pub(crate) unstable: bool,
}

impl Cell {
    const fn new(hooks: bool, workers: usize, hogs: usize) -> Self {
        Self { hooks, workers, hogs, unstable: cfg!(tokio_unstable) }
    }

    /// All cells of this build.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for hooks in [true, false] {
            for workers in [1, 2, 4] {
                all.extend([0, 2].map(|hogs| Self::new(hooks, workers, hogs)));
            }
        }
        all
    }

    /// Those of a run that takes minutes.
    pub(crate) fn few() -> Vec<Self> {
        vec![Self::new(true, 2, 0), Self::new(false, 1, 0), Self::new(true, 2, 2)]
    }

    /// Returns whether spawned tasks go by the name of their handler.
    pub(crate) fn names_tasks(self) -> bool {
        self.hooks && self.unstable
    }

    fn value(self, key: &str) -> Option<String> {
        Some(match key {
            "hooks" => if self.hooks { "on" } else { "off" }.to_owned(),
            "workers" => self.workers.to_string(),
            "load" => if self.hogs == 0 { "idle" } else { "hogs" }.to_owned(),
            _ => return None,
        })
    }

    /// Returns whether it is one of those that a list like `hooks=on,workers=1,workers=2` names.
    pub(crate) fn is_in(self, filter: &[(String, String)]) -> bool {
        filter.iter().all(|(key, _)| {
            let mut values = filter.iter().filter(|(other, _)| other == key);
            values.any(|(_, value)| self.value(key).as_ref() == Some(value))
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |key| self.value(key).unwrap_or_default();
        write!(f, "hooks={},workers={},load={}", value("hooks"), value("workers"), value("load"))
    }
}

/// A cell by its own name.
impl FromStr for Cell {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::all()
            .into_iter()
            .find(|cell| cell.to_string() == name)
            .ok_or_else(|| format!("there is no cell {name}"))
    }
}
