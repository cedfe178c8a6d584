//! The processes that are measured, and what the kernel says of them.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::{
    process::{Pid, Signal, kill_process, set_parent_process_death_signal},
    thread::sched_getaffinity,
};

/// A server in a process of its own; killed when dropped, with the processes that it started.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

/// Longest time that a server may take to start.
const PATIENCE: Duration = Duration::from_mins(2);
/// Longest time that one with processes of its own may take to end.
const FAREWELL: Duration = Duration::from_secs(2);

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child })
    }

    /// This program again, as one of the servers that are measured; the addresses that it says.
    pub(crate) fn hello(kind: &str) -> anyhow::Result<(Self, Vec<SocketAddr>)> {
        let mut command = Command::new(std::env::current_exe()?);
        // Its end of our pipe tells it when we are gone.
        command.args(["--hello", kind]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::start(&mut command)?;
        let said = process.child.stdout.take().context("no pipe")?;
        let addresses = first_line(said)?;
        let addresses = addresses.split_whitespace().map(str::parse);
        Ok((process, addresses.collect::<Result<_, _>>()?))
    }

    /// Waits until something about the process is so.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        mut is_so: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let start = Instant::now();
        loop {
            if let Some(value) = is_so() {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended ({status}) before {what}");
            }
            if start.elapsed() > PATIENCE {
                bail!("waited {PATIENCE:?} until {what}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it run, if it was stopped.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// Stops it until it is resumed: what it does of its own accord, as a watchdog, must not cost
    /// the side whose turn it is.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of processor time that its threads have had: right to the nanosecond, where the
    /// usual clocks count ticks.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.child.id())
    }

    /// The same, with the processes that it started, and those that they did.
    pub(crate) fn tree_cpu_seconds(&self) -> anyhow::Result<f64> {
        tree(self.child.id())?.into_iter().map(cpu_seconds).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = tree(self.child.id()).unwrap_or_default();
        if tree.len() > 1 {
            // So that it can end those that it started, and know that they have.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let start = Instant::now();
            while start.elapsed() < FAREWELL && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(20));
            }
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // After it, so that it starts no others.
        for id in tree.into_iter().skip(1) {
            let process = i32::try_from(id).ok().and_then(Pid::from_raw);
            let _ = process.map(|process| kill_process(process, Signal::KILL));
        }
    }
}

/// A program that is told to end when this one has ended, however it did.
pub(crate) fn follower(program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--follow").arg(program).stdin(Stdio::null());
    Ok(command)
}

/// What a [`follower`] does first: it becomes the program.
pub(crate) fn follow(program: &[OsString]) -> anyhow::Result<Infallible> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let (program, arguments) = program.split_first().context("no program")?;
    let why = Command::new(program).args(arguments).exec();
    Err(why).with_context(|| format!("cannot start {}", program.display()))
}

/// One that is free now; nobody else is likely to take it within a second.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has ended meanwhile is no error.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let ran = text.split_whitespace().next().context("schedstat is empty")?;
        nanoseconds += ran.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// A process, and those that it and its own have started.
fn tree(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process that has ended meanwhile is no error.
        let Ok(text) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // The name, in parentheses, may have any letters in it.
        let (_, fields) = text.rsplit_once(')').context("a stat without a name")?;
        let parent = fields.split_whitespace().nth(1).context("a stat without a parent")?;
        parents.push((id, parent.parse::<u32>()?));
    }
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&process) = tree.get(next) {
        tree.extend(parents.iter().filter(|(_, parent)| *parent == process).map(|(id, _)| id));
        next += 1;
    }
    Ok(tree)
}

/// Names of a process's threads, all of which must be kept on one core.
pub(crate) fn pinned_threads(process: u32) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?;
        // A thread that has ended meanwhile is no error.
        let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
        let number = task.file_name().to_string_lossy().parse()?;
        let Ok(cores) = sched_getaffinity(Pid::from_raw(number)) else { continue };
        ensure!(cores.count() == 1, "thread {} is not kept on one core", name.trim());
        names.push(name.trim().to_owned());
    }
    Ok(names)
}

/// The machine's load average of the last minute.
pub(crate) fn load_average() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

fn first_line(said: ChildStdout) -> anyhow::Result<String> {
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    Ok(line)
}
