//! Runs `perf`, and says what to do where it cannot be run.

use std::{
    fs::{self, File},
    io::{BufReader, ErrorKind},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use thermograph_profile::Profile;
use tokio::time;

use super::stacks;
use crate::flamegraph::stop;

/// How often it is looked whether perf has ended.
const TICK: Duration = Duration::from_millis(20);
/// Longest that perf may take after the window, to write what it has.
const GRACE: Duration = Duration::from_secs(30);
/// Lines of perf's own words that an error shows.
const SHOWN: usize = 12;
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

/// What is to be recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) seconds: u64,
    /// Samples a second.
    pub(super) frequency: u32,
}

/// What was recorded, in a file of perf's own form.
#[derive(Debug)]
pub(super) struct Recorded {
    record: Record,
    folder: TempDir,
}

/// A perf that runs; dropped, it is ended.
struct Running(Child);

impl Record {
    /// Records nothing of importance: fails where nothing can be recorded.
    pub(super) fn check(self) -> anyhow::Result<()> {
        let folder = folder()?;
        let mut running = self.start(&folder, &[], &["true"])?;
        let ended = running.0.wait().context("cannot wait for perf")?;
        ensure!(ended.success(), refused(&folder));
        Ok(())
    }

    /// Records a process for as long as the window is.
    pub(super) async fn record(self, process: u32) -> anyhow::Result<Recorded> {
        let folder = folder()?;
        let (process, seconds) = (process.to_string(), self.seconds.to_string());
        let mut running = self.start(&folder, &["--pid", &process], &["sleep", &seconds])?;
        let deadline = time::Instant::now() + Duration::from_secs(self.seconds) + GRACE;
        let ended = loop {
            if let Some(ended) = running.0.try_wait().context("cannot wait for perf")? {
                break ended;
            }
            ensure!(time::Instant::now() < deadline, "perf does not end: {}", said(&folder));
            time::sleep(TICK).await;
        };
        ensure!(ended.success(), refused(&folder));
        Ok(Recorded { record: self, folder })
    }

    /// Stacks by frame pointers, which all of our own code has.
    fn start(
        self,
        folder: &TempDir,
        what: &[&str],
        while_runs: &[&str],
    ) -> anyhow::Result<Running> {
        let mut command = perf();
        command.args(["record", "--quiet", "--no-buildid-cache", "--call-graph", "fp"]);
        command.args(["--freq", &self.frequency.to_string(), "--output"]).arg(data(folder));
        command.args(what).arg("--").args(while_runs);
        let log = File::create(log(folder)).context("cannot write a log")?;
        command.stdout(Stdio::null()).stderr(log);
        command.spawn().map(Running).map_err(|error| not_there(&error))
    }
}

impl Recorded {
    /// Folds what was recorded.
    pub(super) fn profile(&self, began: SystemTime) -> anyhow::Result<Profile> {
        let mut command = perf();
        // Names are made readable here, as ours are; inlined ones would take it minutes. Without the
        // events that a sample stands for, each is one sample.
        command.args(["script", "--no-inline", "--no-demangle"]);
        command.args(["--fields", "comm,pid,tid,time,event,ip,sym,dso"]);
        command.arg("--input").arg(data(&self.folder));
        let log = File::create(log(&self.folder)).context("cannot write a log")?;
        let process = command.stdout(Stdio::piped()).stderr(log).spawn();
        let mut running = process.map(Running).map_err(|error| not_there(&error))?;
        let Some(script) = running.0.stdout.take() else { bail!("perf script says nothing") };
        let profile = stacks::profile(BufReader::new(script), began, self.record)?;
        let ended = running.0.wait().context("cannot wait for perf")?;
        ensure!(ended.success(), "perf script failed: {}", said(&self.folder));
        Ok(profile)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless nobody wants what it does any more. Asked to, it ends what it
        // has started too.
        if let Err(error) = stop(&mut self.0) {
            anstream::eprintln!("thermograph: perf was not stopped: {error}");
        }
    }
}

fn perf() -> Command {
    let mut command = Command::new("perf");
    // Its words are looked at by people only, but in one language.
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

fn folder() -> anyhow::Result<TempDir> {
    tempfile::tempdir().context("no temporary folder")
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("perf.data")
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

/// What perf said last.
fn said(folder: &TempDir) -> String {
    let text = fs::read(log(folder)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).take(SHOWN).collect();
    lines.join("\n")
}

fn not_there(error: &std::io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::NotFound {
        return anyhow::anyhow!(
            "perf is not there: install linux-perf (Debian), linux-tools-generic (Ubuntu) or perf \
             (Fedora, Arch). `thermograph flamegraph` shows CPU time without it"
        );
    }
    anyhow::anyhow!("cannot start perf: {error}")
}

/// What to do where perf does not record.
fn refused(folder: &TempDir) -> String {
    let paranoid = fs::read_to_string(PARANOID).unwrap_or_default();
    let paranoid = match paranoid.trim() {
        "" => "the kernel has no perf events, or this sandbox hides them".to_owned(),
        level => format!("kernel.perf_event_paranoid is {level}"),
    };
    format!(
        "perf cannot record here ({paranoid}). Try `sudo sysctl kernel.perf_event_paranoid=1`, or \
         run this as root; in a container also `--cap-add PERFMON` and a seccomp profile that \
         allows perf_event_open. perf says:\n{}",
        said(folder)
    )
}
