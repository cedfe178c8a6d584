//! Stacks of one capture, counted, and at its end named.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use thermograph_profile::{Profile, Sample, ValueType};
use thermograph_sampler::{Module, Names, Stack, Thread};

use crate::handlers::ByPlace;

/// How often each stack was seen, with where.
#[derive(Debug)]
pub(crate) struct Tally {
    period: Duration,
    start: SystemTime,
    seen: HashMap<Seen, u64>,
    threads: HashMap<Thread, String>,
    /// Periods of stacks past the bound.
    dropped: u64,
}

/// A stack, and where it was.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Seen {
    pub(crate) stack: Stack,
    pub(crate) thread: Thread,
    pub(crate) handler: Option<ByPlace>,
    /// `on-cpu` or `off-cpu`, where that is asked.
    pub(crate) state: Option<&'static str>,
    pub(crate) syscall: Option<&'static str>,
}

impl Tally {
    /// Most different stacks of one capture; what comes past it is counted as dropped.
    const MAX_STACKS: usize = 20_000;

    pub(crate) fn new(period: Duration) -> Self {
        let start = SystemTime::now();
        Self { period, start, seen: HashMap::new(), threads: HashMap::new(), dropped: 0 }
    }

    pub(crate) fn add(&mut self, seen: Seen, periods: u64) {
        // While it is there: at the end it may be gone, and with it its name.
        self.threads.entry(seen.thread).or_insert_with(|| {
            seen.thread.name().unwrap_or_else(|| seen.thread.number().to_string())
        });
        if let Some(sum) = self.seen.get_mut(&seen) {
            *sum += periods;
        } else if self.seen.len() < Self::MAX_STACKS {
            self.seen.insert(seen, periods);
        } else {
            self.dropped += periods;
        }
    }

    /// Names everything, after a window of `duration`; `dropped` are periods whose stack was never
    /// taken.
    pub(crate) fn profile(
        self,
        modules: &[Module],
        value: ValueType,
        duration: Duration,
        dropped: u64,
    ) -> Profile {
        let mut names = Names::new(modules);
        let period = i64::try_from(self.period.as_nanos()).unwrap_or(i64::MAX);
        let samples = self.seen.iter().map(|(seen, periods)| {
            let periods = i64::try_from(*periods).unwrap_or(i64::MAX);
            Sample {
                stack: names.stack(&seen.stack),
                values: vec![periods, periods.saturating_mul(period)],
                labels: seen.labels(self.threads.get(&seen.thread)),
            }
        });
        Profile {
            samples: samples.collect(),
            values: vec![ValueType { kind: "samples", unit: "count" }, value],
            start: self.start,
            duration,
            period: Some((value, period)),
            dropped: self.dropped + dropped,
        }
    }
}

impl Seen {
    fn labels(&self, thread: Option<&String>) -> Vec<(&'static str, String)> {
        let mut labels = Vec::new();
        labels.extend(thread.map(|thread| ("thread", thread.clone())));
        labels.extend(self.handler.into_iter().flat_map(|ByPlace(handler)| handler.labels()));
        labels.extend(self.state.map(|state| ("state", state.to_owned())));
        labels.extend(self.syscall.map(|syscall| ("syscall", syscall.to_owned())));
        labels
    }
}
