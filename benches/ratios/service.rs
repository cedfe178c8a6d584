//! `thermograph serve`, as people run it, in a process of its own.

use std::{
    fs::{self, File},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use tempfile::TempDir;
use thermograph_server::serve::Addresses;

use crate::{
    client::{Clients, Requests},
    process::{Process, follower},
    rounds::Sample,
};

/// The service.
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) addresses: Addresses,
    _dir: TempDir,
}

impl Service {
    /// With its defaults.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::with("")
    }

    /// With a configuration.
    pub(crate) fn with(text: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let [config, addresses, log] =
            ["thermograph.toml", "addresses.json", "log"].map(|name| dir.path().join(name));
        fs::write(&config, text)?;
        let any = "127.0.0.1:0";
        let mut command = follower(env!("CARGO_BIN_EXE_thermograph"))?;
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["serve", "--listen", any, "--diagnostics-listen", any, "--console-listen", any])
            .arg("--addresses-file")
            .arg(&addresses)
            .arg("--config")
            .arg(&config)
            .stderr(File::create(&log)?);
        for (name, _) in std::env::vars() {
            if name.starts_with("THERMOGRAPH_") || name == "RUST_LOG" || name == "MODEL_DIR" {
                command.env_remove(name);
            }
        }
        let mut process = Process::start(&mut command)?;
        let file = process.wait("it listens", || fs::read(&addresses).ok());
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let file = file.with_context(|| format!("the service said: {}", said()))?;
        Ok(Self { process, addresses: serde_json::from_slice(&file)?, _dir: dir })
    }

    pub(crate) fn clients(&self, connections: usize) -> anyhow::Result<Clients> {
        Clients::connect(self.addresses.api, connections)
    }
}

/// The configuration of a store in SQLite, in a folder.
pub(crate) fn store(dir: &Path) -> String {
    let [database, spool] = ["store.db", "spool"].map(|name| dir.join(name));
    let (database, spool) = (database.display(), spool.display());
    format!("[store]\nurl = \"sqlite:{database}\"\nspool = \"{spool}\"\n")
}

/// One round of requests, with the processor time of whoever answers them.
pub(crate) fn round(
    process: &Process,
    clients: &mut Clients,
    requests: &Requests,
    length: Duration,
) -> anyhow::Result<Sample> {
    let before = process.cpu_seconds()?;
    let (requests, seconds) = clients.drive(requests, length)?;
    Ok(Sample { requests, seconds, cpu_seconds: process.cpu_seconds()? - before })
}
