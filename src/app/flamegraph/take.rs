//! Drives the service and captures what it does meanwhile.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::{Args, Subject};
use crate::{
    app::{
        capture::{Captured, What, Window},
        captures, diagnose, handlers,
        load::{self, Limit, Pace, Plan, Report},
    },
    diagnostics::{
        diagnosis::{Diagnosis, Exhibits},
        watch::LedgerReport,
    },
};

/// Before the window: connections are made, and caches of the service and the machine filled.
const WARMUP: Duration = Duration::from_secs(1);

/// What one window has shown.
#[derive(Debug)]
pub(crate) struct Taken {
    load: Report,
    handlers: LedgerReport,
    diagnosis: Diagnosis,
    captures: [Captured; 4],
    /// When the window began.
    began: SystemTime,
}

/// Drives and captures over one window.
pub(crate) async fn take(
    subject: &Subject,
    args: &Args,
    stop: &CancellationToken,
) -> anyhow::Result<Taken> {
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
    let began = SystemTime::now();
    let (client, seconds) = (subject.diagnostics.clone(), args.seconds);
    let (load, handlers, cpu, wall, stalls, spans) = tokio::try_join!(
        async { Ok(load::watched(&plan, "driving and capturing", stop).await) },
        blocking(move || handlers::ask(&client, Some(seconds))),
        capture(What::Cpu),
        capture(What::Wall),
        capture(What::Stalls),
        capture(What::Spans),
    )?;
    let exhibits = Exhibits { ledger: &handlers, stalls: &stalls.profile, cpu: Some(&cpu.profile) };
    let diagnosis = Diagnosis::of(&exhibits);
    let captures = [cpu, wall, stalls, spans];
    Ok(Taken { load, handlers, diagnosis, captures, began })
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
        let Self { load, handlers, diagnosis, captures, began } = self;
        let diagnosis = diagnosis.text(diagnose::paint);
        let mut text = format!("{handlers}\n{}\n\n{diagnosis}\n", load.summary());
        for captured in captures {
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
