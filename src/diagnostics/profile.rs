//! The profile: stacks with values and labels.
//!
//! Everything that captures makes one of these, and pprof, folded text and flame graphs are made
//! from it and nothing else.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Stacks that were captured over a window.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What the values of each sample measure, in their order; the last is the one shown.
    pub values: Vec<ValueType>,
    /// What was captured.
    pub samples: Vec<Sample>,
    /// When the window began.
    pub start: SystemTime,
    /// How long the window was.
    pub duration: Duration,
    /// What lies between two samples, and how much of it.
    pub period: Option<(ValueType, i64)>,
    /// Samples that were taken but could not be kept.
    pub dropped: u64,
}

/// A kind of value and its unit, such as `cpu` in `nanoseconds`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ValueType {
    /// What is measured.
    pub kind: &'static str,
    /// Its unit, in pprof's words.
    pub unit: &'static str,
}

/// One stack, how much it weighs, and where it was.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Frames, the leaf first; inlined ones are frames of their own.
    pub stack: Vec<Arc<Frame>>,
    /// One value for each of the profile's [`values`](Profile::values).
    pub values: Vec<i64>,
    /// Names and values, such as `thread` and the thread's name.
    pub labels: Vec<(&'static str, String)>,
}

/// A function and a place in it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Frame {
    /// Demangled name, without the hash.
    pub name: String,
    /// Name as the linker has it.
    pub linkage: String,
    /// Source file, empty where it is not known.
    pub file: String,
    /// Line in the file, 0 where it is not known.
    pub line: u32,
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }

    /// The value that is shown: the last.
    pub fn weight(&self) -> i64 {
        self.values.last().copied().unwrap_or_default()
    }
}
