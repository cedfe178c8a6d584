//! A program that is started, waited for, and stopped whatever happens.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::time;

use crate::{config::Listen, serve::Addresses};

/// How long the program may take to listen: large models are read before.
const START: Duration = Duration::from_mins(1);
/// How long it may take to stop, before it is killed.
const STOP: Duration = Duration::from_secs(5);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(20);
/// Lines of its log that an error shows.
const SHOWN: usize = 20;

/// A running program; dropped, it is stopped.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    /// Holds the log and the addresses.
    folder: TempDir,
}

impl Child {
    /// Starts a program that takes the flags of `thermograph serve`, on ports that are free.
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let log = File::create(log(&folder)).context("cannot write a log")?;
        for listen in ["--listen", "--diagnostics-listen", "--console-listen"] {
            command.args([listen, "127.0.0.1:0"]);
        }
        command.arg("--addresses-file").arg(addresses(&folder));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let program = command.get_program().display().to_string();
        let process = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Self { process, folder })
    }

    /// Where it listens, once it does.
    pub(crate) async fn addresses(&mut self) -> anyhow::Result<Addresses<Listen>> {
        let deadline = Instant::now() + START;
        let file = addresses(&self.folder);
        // Renamed into place by the program: whole as soon as it is there.
        while !file.exists() {
            if let Some(status) = self.process.try_wait()? {
                bail!("it did not start ({status}). The last lines of its log:\n{}", self.log());
            }
            if Instant::now() > deadline {
                let waited = START.as_secs();
                bail!("it does not listen after {waited} s. Its log ends:\n{}", self.log());
            }
            time::sleep(TICK).await;
        }
        let text = fs::read(&file).context("cannot read the addresses file")?;
        serde_json::from_slice(&text).context("the addresses file is not as it should be")
    }

    /// Its number.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// The last lines that it logged.
    pub(crate) fn log(&self) -> String {
        let text = fs::read(log(&self.folder)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = stop(&mut self.process) {
            let id = self.process.id();
            anstream::eprintln!("thermograph: process {id} was not stopped: {error}");
        }
    }
}

/// Asks a process to end, waits until it has, and kills it where that takes too long.
pub(crate) fn stop(process: &mut process::Child) -> std::io::Result<()> {
    let deadline = Instant::now() + STOP;
    // Asking is in vain where the program has ended; waiting finds that out.
    let _asked = ask_to_stop(process);
    while process.try_wait()?.is_none() {
        if Instant::now() > deadline {
            process.kill()?;
            process.wait()?;
            return Ok(());
        }
        thread::sleep(TICK);
    }
    Ok(())
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

fn addresses(folder: &TempDir) -> PathBuf {
    folder.path().join("addresses.json")
}

#[cfg(unix)]
fn ask_to_stop(process: &mut process::Child) -> std::io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    // Its id is not another's yet: it was not waited for, or else the wait above returned.
    if process.try_wait()?.is_none() {
        kill_process(Pid::from_child(process), Signal::TERM)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn ask_to_stop(process: &mut process::Child) -> std::io::Result<()> {
    process.kill()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A shell script; the flags that [`Child::start`] adds are its `$1` and so on.
    fn script(text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text, "sh"]);
        command
    }

    #[tokio::test]
    async fn a_program_that_dies_shows_its_log() {
        let mut child = Child::start(script("echo the cause; exit 3")).expect("starts");
        let error = child.addresses().await.expect_err("it died").to_string();
        assert!(error.contains("exit status: 3") && error.contains("the cause"), "{error}");
    }

    #[tokio::test]
    async fn a_program_says_where_it_listens_and_is_stopped() {
        let addresses = r#"{"api":"127.0.0.1:1","diagnostics":"127.0.0.1:2","console":null}"#;
        let text = format!("echo '{addresses}' > \"$8.new\"; mv \"$8.new\" \"$8\"; exec sleep 60");
        let mut child = Child::start(script(&text)).expect("starts");
        let addresses = child.addresses().await.expect("listens");
        assert_eq!(addresses.diagnostics.port(), 2);
        let begun = Instant::now();
        drop(child);
        assert!(begun.elapsed() < STOP, "it was asked, not killed");
    }

    #[test]
    fn what_cannot_be_started_is_named() {
        let error = Child::start(Command::new("/no/such/program")).expect_err("not there");
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
