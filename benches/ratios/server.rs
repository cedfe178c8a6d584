//! A hello server in a process of its own, and its clients: one side of a comparison, or both.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};

use crate::{
    attached::Attached,
    client::{self, Clients, Requests},
    pin::Side,
    process::{Process, pinned_threads},
    rounds::{Pair, Rounds, Sample},
};

/// Connections, each with one request on its way.
pub(crate) const CONNECTIONS: usize = 64;

/// Pairs of rounds that a pair of processes lives for.
const LIFE: usize = 16;

/// Threads, in the 15 letters that the kernel keeps of a name: one that stays, and one that looks at
/// the program once, soon after the start, and leaves.
const WATCHDOG: &str = "thermo-watch";
const DOCTOR: &str = "thermo-doctor";

/// A process that serves one of the apps of its kind.
pub(crate) struct Server {
    process: Process,
    addresses: Vec<SocketAddr>,
    clients: Clients,
    /// A console that is attached to it.
    console: Option<Attached>,
}

/// The kind of a process, and which of its apps.
pub(crate) type App = (&'static str, usize);

/// A round of each of two apps in turns, each in a process of its own that is stopped while the
/// other has its turn.
///
/// Processes differ a little for no reason but where things lie in memory: several pairs of them
/// take turns.
pub(crate) fn pairs(rounds: Rounds, apps: [App; 2]) -> anyhow::Result<Vec<Pair>> {
    prepared_pairs(rounds, apps, |_| Ok(()))
}

/// The same, where something is done with each second side before its first turn.
pub(crate) fn prepared_pairs(
    rounds: Rounds,
    apps: [App; 2],
    mut prepare: impl FnMut(&mut Server) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    while pairs.len() < rounds.pairs {
        // Processes first: they would inherit the client's core.
        let mut sides = [Server::start(apps[0])?, Server::start(apps[1])?];
        let _pinned = Side::Client.pin()?;
        prepare(&mut sides[1])?;
        let life = Rounds { pairs: LIFE.min(rounds.pairs - pairs.len()), ..rounds };
        pairs.extend(life.pairs(|side, length| sides[side].turn(length))?);
    }
    Ok(pairs)
}

impl Server {
    pub(crate) fn start((kind, app): App) -> anyhow::Result<Self> {
        let (mut process, addresses) = Process::hello(kind)?;
        let address = addresses.get(app).with_context(|| format!("{kind} has no app {app}"))?;
        let clients = Clients::connect(*address, CONNECTIONS)?.awake();
        // The watchdog must run, on the server's core. The doctor must have finished: these processes
        // live for a few seconds, in which work that is done once would weigh too much.
        let id = process.id();
        let has = |name: &str, threads: &[String]| threads.iter().any(|thread| thread == name);
        let mut threads = pinned_threads(id)?;
        if kind != "plain" {
            // A new thread has the name of its parent for a moment.
            let look = |is_there: bool| {
                let threads = pinned_threads(id).ok()?;
                (has(WATCHDOG, &threads) && has(DOCTOR, &threads) == is_there).then_some(threads)
            };
            process.wait("its watchdog ran", || look(true))?;
            threads = process.wait("its doctor had looked", || look(false))?;
        }
        let has_watchdog = has(WATCHDOG, &threads);
        ensure!(has_watchdog == (kind != "plain"), "{kind} has the threads {threads:?}");
        Ok(Self { process, addresses, clients, console: None })
    }

    /// What it said last: the diagnostics' door, after its apps.
    pub(crate) fn door(&self) -> anyhow::Result<SocketAddr> {
        self.addresses.last().copied().context("it has no door")
    }

    /// Attaches a console for good. The clients stay connected, or connect anew, so that the console
    /// shows their connections too.
    pub(crate) fn attach(&mut self, anew: bool) -> anyhow::Result<()> {
        // Before the door.
        let console = self.addresses.iter().rev().nth(1).context("it has no console")?;
        self.console = Some(Attached::to(*console)?);
        if anew {
            let app = self.addresses.first().context("it has no app")?;
            self.clients = Clients::connect(*app, CONNECTIONS)?.awake();
        }
        Ok(())
    }

    /// Drives it, and stops it afterwards.
    fn turn(&mut self, length: Duration) -> anyhow::Result<Sample> {
        self.process.resume()?;
        let sample = self.drive(length)?;
        self.process.stop()?;
        Ok(sample)
    }

    /// Asks for hellos, one after the other on every connection.
    pub(crate) fn drive(&mut self, length: Duration) -> anyhow::Result<Sample> {
        if let Some(console) = &self.console {
            console.ensure_attached()?;
        }
        let requests: Requests = [client::get("/")].into();
        let before = self.process.cpu_seconds()?;
        let (requests, seconds) = self.clients.drive(&requests, length)?;
        Ok(Sample { requests, seconds, cpu_seconds: self.process.cpu_seconds()? - before })
    }
}
