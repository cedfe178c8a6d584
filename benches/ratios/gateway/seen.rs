//! What the clients see: how long they wait, and what fails.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use super::answer::Answer;
use crate::spread::Spread;

/// What a good answer has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// No stream: bytes, at least.
    Bytes(usize),
    /// A stream: server-sent events, the one that says it is done among them.
    Events(usize),
}

/// An answer, and when it came: seconds.
pub(crate) struct Exchanged {
    pub(crate) answer: Answer,
    pub(crate) wait: f64,
    /// To the first event.
    pub(crate) first: Option<f64>,
    /// Longest from one event to the next.
    pub(crate) gap: f64,
}

/// What the clients saw in one turn.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Seconds from a request to the first event of its stream, or to the end of its answer.
    waits: Vec<f64>,
    /// Seconds: the longest between two events of each stream.
    gaps: Vec<f64>,
    pub(crate) errors: Errors,
    pub(crate) seconds: f64,
}

/// How often requests failed, by what was wrong.
pub(crate) type Errors = BTreeMap<String, u64>;

impl Seen {
    pub(crate) fn requests(&self) -> usize {
        self.waits.len()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.requests() as f64 / self.seconds
    }

    /// A quantile of the waits in microseconds.
    pub(crate) fn wait(&self, quantile: f64) -> f64 {
        if self.waits.is_empty() {
            return f64::NAN;
        }
        Spread::of(self.waits.iter().copied()).quantile(quantile) * 1e6
    }

    /// Milliseconds: the longest between two events of any stream.
    pub(crate) fn longest_gap(&self) -> f64 {
        self.gaps.iter().copied().fold(f64::NAN, f64::max) * 1e3
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.waits.extend(other.waits);
        self.gaps.extend(other.gaps);
        self.add_errors(&other.errors);
    }

    pub(crate) fn add_errors(&mut self, errors: &Errors) {
        for (what, count) in errors {
            *self.errors.entry(what.clone()).or_default() += count;
        }
    }

    pub(crate) fn fail(&mut self, why: &impl ToString) {
        *self.errors.entry(why.to_string()).or_default() += 1;
    }

    /// Books an answer, if it is a good one.
    pub(crate) fn answered(
        &mut self,
        exchanged: &Exchanged,
        expected: Expected,
    ) -> anyhow::Result<()> {
        let Exchanged { answer, wait, first, gap } = exchanged;
        match expected {
            Expected::Bytes(least) => {
                ensure!(answer.body().len() >= least, "an answer is shorter than it was made");
                self.waits.push(*wait);
            }
            Expected::Events(least) => {
                ensure!(answer.body().ends_with(b"data: [DONE]\n\n"), "a stream without its end");
                ensure!(answer.events() >= least, "a stream with fewer events than it was made of");
                self.waits.push(first.context("a stream without events")?);
                self.gaps.push(*gap);
            }
        }
        Ok(())
    }
}
