//! Drives the service and captures what it does meanwhile.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::{Args, Subject};
use crate::{
    capture::{Captured, What, Window},
    captures, diagnose, handlers,
    load::{self, Limit, Pace, Plan, Report},
};
use thermograph::{
    diagnosis::{Diagnosis, Exhibits},
    handlers::LedgerReport,
};

/// Before the window: connections are made, and caches of the service and the machine filled.
const WARMUP: Duration = Duration::from_secs(1);

/// What one window has shown.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) load: Report,
    handlers: LedgerReport,
    pub(crate) diagnosis: Diagnosis,
    pub(crate) cpu: Captured,
    wall: Option<Captured>,
    stalls: Captured,
    spans: Option<Captured>,
    /// When the window began.
    pub(crate) began: SystemTime,
}

/// How much is captured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    /// All that there is.
    All,
    /// What a diagnosis needs, and nothing that would show beside it.
    Diagnosis,
}

/// Drives and captures over one window, in which `beside` runs too.
pub(crate) async fn take<T>(
    subject: &Subject,
    args: &Args,
    scope: Scope,
    stop: &CancellationToken,
    beside: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(Taken, T)> {
    let plan = plan(subject, args)?;
    let warmup = Plan { limit: Limit::Time(WARMUP), ..plan.clone() };
    let warmed = load::watched(&warmup, "warming up", stop).await;
    if warmed.total.requests == warmed.total.failed {
        let example = warmed.errors.values().next();
        let example = example.map_or("there were none", |errors| errors.example.as_str());
        bail!("no request to {} succeeded: {example}", subject.api);
    }
    let window = Window { seconds: args.seconds, frequency: args.frequency };
    let capture = |what: What| {
        let client = subject.diagnostics.clone();
        blocking(move || what.capture(&client, window, None))
    };
    let other = async |what: What| match scope {
        Scope::All => capture(what).await.map(Some),
        Scope::Diagnosis => Ok(None),
    };
    let began = SystemTime::now();
    let (client, seconds) = (subject.diagnostics.clone(), args.seconds);
    let diagnostics = subject.diagnostics.clone();
    let (load, handlers, diagnosed, cpu, wall, stalls, spans, beside) = tokio::try_join!(
        async { Ok(load::watched(&plan, "driving and capturing", stop).await) },
        blocking(move || handlers::ask(&client, Some(seconds))),
        blocking(move || diagnose::ask(&diagnostics, seconds)),
        capture(What::Cpu),
        other(What::Wall),
        capture(What::Stalls),
        other(What::Spans),
        beside,
    )?;
    let exhibits = Exhibits { ledger: &handlers, stalls: &stalls.profile, cpu: Some(&cpu.profile) };
    // The service alone knows its blocking pools.
    let diagnosis = Diagnosis { pools: diagnosed.pools, ..Diagnosis::of(&exhibits) };
    Ok((Taken { load, handlers, diagnosis, cpu, wall, stalls, spans, began }, beside))
}

fn plan(subject: &Subject, args: &Args) -> anyhow::Result<Plan> {
    Ok(Plan {
        address: subject.api.clone(),
        traffic: args.traffic.traffic()?,
        connections: usize::from(args.connections),
        limit: Limit::Time(Duration::from_secs(args.seconds)),
        pace: Pace::Closed,
        warmup: Duration::ZERO,
        timeout: Duration::from_secs(10),
    })
}

impl Taken {
    /// Writes the files, and gives the text that says what was seen and where it is.
    pub(crate) fn keep(&self, prefix: &str) -> anyhow::Result<String> {
        let Self { load, handlers, diagnosis, cpu, wall, stalls, spans, began } = self;
        let diagnosis = diagnosis.text(diagnose::paint);
        let mut text = format!("{handlers}\n{}\n\n{diagnosis}\n", load.summary());
        let captures = [Some(cpu), wall.as_ref(), Some(stalls), spans.as_ref()];
        for captured in captures.into_iter().flatten() {
            let paths = captured.keep(&captures::here(), *began, Some(prefix))?.join("  ");
            let empty = if captured.profile.is_empty() { " (nothing was captured)" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}: {paths}{empty}", captured.what.name());
        }
        Ok(text)
    }
}

/// Runs what blocks on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("a thread broke")?
}
