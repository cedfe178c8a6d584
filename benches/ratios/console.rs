//! What tokio-console costs while it is compiled in and nobody is attached.
//!
//! The subscriber is the process's, so each side is a process. Processes differ a little for no
//! reason but where things lie in memory: several pairs of processes take turns.

use std::time::Duration;

use super::layer::{CONNECTIONS, figures, round};
use crate::{
    client::Clients,
    figure::{Bound, Figure},
    pin::Side,
    process::Process,
    rounds::Rounds,
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 160, length: Duration::from_millis(250) };

/// Pairs of rounds that a pair of processes lives for.
const LIFE: usize = 16;

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let mut pairs = Vec::new();
    while pairs.len() < rounds.pairs {
        // Processes first: they would inherit the client's core.
        let mut sides = [start("console-off")?, start("console-on-attach")?];
        let _pinned = Side::Client.pin()?;
        let life = Rounds { pairs: LIFE.min(rounds.pairs - pairs.len()), ..rounds };
        pairs.extend(life.pairs(|side, length| {
            let (process, clients) = &mut sides[side];
            round(clients, process, length)
        })?);
    }
    let what = "with tokio-console compiled in and not attached : without";
    Ok(figures("console", what, Bound::AtLeast(0.98), &pairs, rounds.length))
}

fn start(kind: &str) -> anyhow::Result<(Process, Clients)> {
    let (process, addresses) = Process::hello(kind)?;
    let clients = Clients::connect(addresses[0], CONNECTIONS)?;
    Ok((process, clients))
}
