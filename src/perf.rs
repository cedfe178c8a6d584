//! `thermograph perf`: the machine's own profiler over the same load and the same window, beside
//! ours: whether they tell the same.
//!
//! `perf` sees all that the kernel sees, and needs a right for it; ours needs none.

mod compare;
mod record;
mod stacks;

use std::{path::Path, time::SystemTime};

use anyhow::Context as _;
use thermograph::diagnosis::Verdict;
use thermograph_profile::{
    Profile,
    captures::{Forms, Kind, Name},
    flamegraph::Caption,
};

use self::record::Record;
use super::{
    captures, diagnose,
    flamegraph::{self, Scope},
};

/// Record a service with perf while it is driven, and compare that with our own capture.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What is started, and how it is driven.
    #[command(flatten)]
    pub drive: flamegraph::Args,
    /// Process to record, where a service runs already.
    #[arg(long, value_name = "PID", requires = "url", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pid: Option<u32>,
}

/// Starts, drives, records and captures, compares, stops, prints.
pub fn run(config: Option<&Path>, args: &Args) -> anyhow::Result<()> {
    let Args { drive, pid } = args;
    let record = Record { seconds: drive.seconds, frequency: drive.frequency };
    // Before anything is started.
    record.check()?;
    let (taken, perf) = flamegraph::observe(config, drive, Scope::Diagnosis, async |subject| {
        let started = subject.process();
        let process =
            pid.or(started).context("--url needs --pid: which process is to be recorded?")?;
        let began = SystemTime::now();
        let recorded = record.record(process).await?;
        flamegraph::blocking(move || recorded.profile(began)).await
    })?;
    let table = compare::table(&perf, &taken.cpu.profile);
    // Of the handler that took most of the CPU time; all of it is what `diagnose` is for.
    let mut diagnosis = taken.diagnosis;
    let cpu_ms = |verdict: &Verdict| verdict.numbers.cpu_ms.unwrap_or_default();
    diagnosis.verdicts.sort_by(|one, other| cpu_ms(other).total_cmp(&cpu_ms(one)));
    diagnosis.verdicts.truncate(1);
    let verdict = diagnosis.text(diagnose::paint);
    let prefix = drive.prefix();
    let ours = taken.cpu.keep(&captures::here(), taken.began, Some(&prefix))?.join("  ");
    let theirs = keep(&perf, taken.began, &prefix)?.join("  ");
    let load = taken.load.summary();
    anstream::print!("{load}\n\n{table}\n{verdict}\ncpu: {ours}\nperf: {theirs}\n");
    Ok(())
}

/// Writes what perf recorded in the forms that captures have.
fn keep(profile: &Profile, time: SystemTime, prefix: &str) -> anyhow::Result<Vec<String>> {
    let forms = Forms::of(profile, &Caption::perf()).context("the profile could not be drawn")?;
    let forms = forms.each();
    let name = captures::here().save(Name::new(time, Kind::Perf, Some(prefix)), &forms)?;
    Ok(forms.iter().map(|(form, _)| form.file(&name)).collect())
}
