//! What a gateway costs: ours, those of others and nginx, all in front of the same mock, in turns.
//!
//! Client, gateway and mock share the machine's cores, as they are: what the one takes, the others
//! lack. Times are therefore shown as what is added to the mock called directly, and of processor
//! time only the gateway's own counts, with all processes that it has started.

mod answer;
mod chat;
mod contender;
mod litellm;
mod mock;
mod nginx;
mod phase;
mod program;
mod promise;
mod router;
mod seen;
mod table;
mod traffic;

use std::{sync::Arc, thread, time::Duration};

use anyhow::ensure;

pub(crate) use self::{chat::MODEL, mock::Mock, phase::Rounds};
use self::{
    contender::Contender,
    mock::Fit,
    phase::{Phase, Turns},
    table::Table,
    traffic::Traffic,
};
use crate::figure::Figure;

pub(crate) const ROUNDS: Rounds = Rounds { rounds: 7, length: Duration::from_secs(1) };
pub(crate) const QUICK: Rounds = Rounds { rounds: 3, length: Duration::from_millis(400) };

/// All turns of each phase.
struct Measured {
    /// One connection, whole answers.
    single: Turns,
    /// Eight of them.
    eight: Turns,
    /// Thirty-two of them.
    many: Turns,
    /// One connection, streams that come at once.
    first: Turns,
    /// Eight connections, streams that are paced.
    paced: Turns,
}

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let traffic = Traffic::new()?;
    let mock = Arc::new(Mock::start()?);
    let fit = mock.fit(&traffic)?;
    let (contenders, absent) = contender::start(&mock)?;
    let measured = Measured::of(&traffic, &mock, &contenders, rounds, fit)?;
    let table = Table { contenders: &contenders, absent: &absent, measured: &measured };
    println!("gateway  {}\n\n{table}", conditions(rounds, fit)?);
    let errors = table.errors();
    ensure!(errors.is_empty(), "requests failed, and no figure is to be trusted:{errors}");
    promise::figures(&contenders, &absent, &measured)
}

impl Measured {
    fn of(
        traffic: &Traffic,
        mock: &Mock,
        contenders: &[Contender],
        rounds: Rounds,
        fit: Fit,
    ) -> anyhow::Result<Self> {
        let measure = |phase: Phase| phase.measure(traffic, mock, contenders, rounds);
        Ok(Self {
            single: measure(Phase::whole("1 connection", 1, fit))?,
            eight: measure(Phase::whole("8 connections", 8, fit))?,
            many: measure(Phase::whole("32 connections", 32, fit))?,
            first: measure(Phase::stream("streams on 1 connection", 1))?,
            paced: measure(Phase::paced("paced streams on 8 connections", 8))?,
        })
    }

    fn all(&self) -> [&Turns; 5] {
        let Self { single, eight, many, first, paced } = self;
        [single, eight, many, first, paced]
    }
}

fn conditions(rounds: Rounds, fit: Fit) -> anyhow::Result<String> {
    let (Rounds { rounds, length }, Fit { bytes, .. }) = (rounds, fit);
    let cores = thread::available_parallelism()?;
    let request = chat::request(false).len();
    Ok(format!(
        "chat completions: a request of {request} bytes, an answer of {bytes}; or a stream\n         \
         client, gateway and mock share {cores} cores; medians of {rounds} rounds of {length:?} in \
         turns\n         \
         + is added to direct, round by round; (…) is direct itself, and its CPU the mock's\n         \
         p50, p99: 1 connection; CPU: processor time of the gateway's processes, 8 connections\n         \
         1st: to a stream's first event, 1 connection; gap: longest of streams paced at 5 ms, 8 \
         connections"
    ))
}
