//! A server of others, with a folder of its own for its files.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::Command,
};

use anyhow::Context as _;
use tempfile::TempDir;

use super::{chat, traffic::Traffic};
use crate::process::Process;

/// How much of what it said is shown where it does not start: letters at its end.
const SAID: usize = 600;

pub(crate) struct Program {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    _dir: TempDir,
}

impl Program {
    /// Starts it, and waits until it gives a good answer to a chat completion.
    pub(crate) fn start(
        dir: TempDir,
        address: SocketAddr,
        command: &mut Command,
    ) -> anyhow::Result<Self> {
        let path = dir.path().join("log");
        let log = File::create(&path)?;
        command.current_dir(dir.path()).stdout(log.try_clone()?).stderr(log);
        let mut process = Process::start(command)?;
        let traffic = Traffic::new()?;
        let (request, mut answered) = (chat::request(false), Ok(Vec::new()));
        let good = process.wait("it answered a chat completion", || {
            answered = traffic.ask(address, &request);
            answered.is_ok().then_some(())
        });
        let why = || {
            let said = fs::read_to_string(&path).unwrap_or_default();
            let said: Vec<_> = said.trim().chars().collect();
            let said: String = said[said.len().saturating_sub(SAID)..].iter().collect();
            format!(
                "{said}{}",
                answered.as_ref().err().map(|why| format!("; {why:#}")).unwrap_or_default()
            )
        };
        good.with_context(why)?;
        Ok(Self { process, address, _dir: dir })
    }
}
