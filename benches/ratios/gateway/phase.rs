//! What is measured one after the other: each with all that are compared, in turns.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    chat,
    contender::Contender,
    mock::{Fit, Mock},
    seen::{Expected, Seen},
    traffic::{Load, Traffic},
};
use crate::spread::Spread;

/// What is asked for, and how often and how long.
pub(crate) struct Phase {
    pub(crate) what: &'static str,
    pub(crate) behaviour: Value,
    pub(crate) load: Load,
}

/// How often each has its turn, and how long it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
}

/// One turn of one of them.
pub(crate) struct Turn {
    pub(crate) seen: Seen,
    /// Processor time of its processes.
    cpu_seconds: f64,
}

/// All turns of a phase: in each round one of each.
pub(crate) struct Turns(Vec<Vec<Turn>>);

/// Before a turn counts.
const WARM_UP: Duration = Duration::from_millis(200);
/// Events of a stream that is paced, and of one that is not.
const TOKENS: usize = 40;
/// Between the events of a stream that is paced.
const INTERVAL: &str = "5ms";

impl Phase {
    /// Answers that are no streams.
    pub(crate) fn whole(what: &'static str, connections: usize, fit: Fit) -> Self {
        let load = Load {
            connections,
            request: chat::request(false),
            expected: Expected::Bytes(fit.bytes * 9 / 10),
        };
        Self { what, behaviour: json!({ "tokens": fit.tokens }), load }
    }

    /// Streams whose events come as fast as they can.
    pub(crate) fn stream(what: &'static str, connections: usize) -> Self {
        let load =
            Load { connections, request: chat::request(true), expected: Expected::Events(TOKENS) };
        Self { what, behaviour: json!({ "tokens": TOKENS }), load }
    }

    /// Streams whose events come one at a time.
    pub(crate) fn paced(what: &'static str, connections: usize) -> Self {
        let behaviour = json!({ "tokens": TOKENS, "interval": INTERVAL });
        Self { behaviour, ..Self::stream(what, connections) }
    }

    pub(crate) fn measure(
        &self,
        traffic: &Traffic,
        mock: &Mock,
        contenders: &[Contender],
        rounds: Rounds,
    ) -> anyhow::Result<Turns> {
        mock.behave(traffic, &self.behaviour)?;
        let mut all = Vec::new();
        for round in 0..rounds.rounds {
            eprintln!("gateway: {}, round {} of {}", self.what, round + 1, rounds.rounds);
            let mut turns: Vec<Option<Turn>> = contenders.iter().map(|_| None).collect();
            for offset in 0..contenders.len() {
                // Whoever went first goes last.
                let number = (round + offset) % contenders.len();
                turns[number] = Some(self.turn(traffic, &contenders[number], rounds.length)?);
            }
            all.push(turns.into_iter().flatten().collect());
        }
        Ok(Turns(all))
    }

    fn turn(
        &self,
        traffic: &Traffic,
        contender: &Contender,
        length: Duration,
    ) -> anyhow::Result<Turn> {
        let warm_up = traffic.drive(contender.address(), &self.load, WARM_UP);
        let before = contender.process().tree_cpu_seconds()?;
        let mut seen = traffic.drive(contender.address(), &self.load, length);
        let cpu_seconds = contender.process().tree_cpu_seconds()? - before;
        seen.add_errors(&warm_up.errors);
        Ok(Turn { seen, cpu_seconds })
    }
}

impl Turn {
    /// Microseconds of processor time.
    pub(crate) fn cpu_per_request(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.seen.requests() as f64
    }
}

impl Turns {
    /// Median of the rounds.
    pub(crate) fn median(&self, number: usize, value: impl Fn(&Turn) -> f64) -> f64 {
        self.spread(|round| value(&round[number])).median()
    }

    /// What is added to the first of them, round by round.
    pub(crate) fn added(&self, number: usize, value: impl Fn(&Turn) -> f64) -> Spread {
        self.spread(|round| value(&round[number]) - value(&round[0]))
    }

    /// Of what each round says.
    pub(crate) fn spread(&self, value: impl Fn(&[Turn]) -> f64) -> Spread {
        Spread::of(self.0.iter().map(|round| value(round)))
    }

    /// All turns of one of them.
    pub(crate) fn of(&self, number: usize) -> impl Iterator<Item = &Turn> {
        self.0.iter().map(move |round| &round[number])
    }
}
