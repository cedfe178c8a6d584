//! What HTTP costs the service: its throughput over that of the same engine called in a loop.
//!
//! The client runs on the same cores as the service, and its own processor time is part of what
//! is measured. The engine in a loop has neither HTTP nor JSON nor a client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use thermograph_engine::{Input, TooLong};
use thermograph_service::{Config, Hooks, Service as Engine};
use tokio::{
    runtime::{self, Runtime},
    task::JoinSet,
};

use crate::{
    figure::{Bound, Figure},
    rounds::{Ratio, Rounds, Sample, median},
    service::{Service, round},
    texts::{MODEL, singles, texts},
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 24, length: Duration::from_secs(2) };

/// Requests on their way.
const CONCURRENCY: usize = 64;

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let service = Service::start()?;
    let mut clients = service.clients(CONCURRENCY)?;
    let requests = singles();
    let engine = Loop::start()?;
    let mut figures = Vec::new();
    for (callers, batch, bound) in [(CONCURRENCY, 1, Bound::AtLeast(0.9)), (2, 32, Bound::None)] {
        let pairs = rounds.pairs(|side, length| match side {
            0 => engine.run(callers, batch, length),
            _ => round(&service.process, &mut clients, &requests, length),
        })?;
        let ratio = Ratio::of(&pairs, Sample::per_second);
        let [engine, http] = ratio.sides;
        figures.push(Figure {
            name: "http",
            what: format!(
                "texts/s over HTTP, {CONCURRENCY} connections with one text each : the engine in \
                 a loop, {callers} callers with {batch}"
            ),
            value: ratio.median(),
            bound,
            conditions: format!(
                "{}; {engine:.0} → {http:.0} texts/s; the service busy on {:.2} cores",
                ratio.spread(rounds.length),
                median(&pairs, 1, Sample::cpus)
            ),
        });
    }
    Ok(figures)
}

/// The engine, called from tasks.
struct Loop {
    runtime: Runtime,
    engine: Engine,
    texts: Arc<[String]>,
    /// Number of the next text.
    next: Arc<AtomicUsize>,
}

impl Loop {
    fn start() -> anyhow::Result<Self> {
        let engine = Engine::start(Config::default(), Hooks::default())?;
        let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
        Ok(Self { runtime, engine, texts: texts().into(), next: Arc::default() })
    }

    /// `callers` tasks, each of which embeds `batch` texts at a time.
    fn run(&self, callers: usize, batch: usize, length: Duration) -> anyhow::Result<Sample> {
        let start = Instant::now();
        let requests = self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..callers {
                let (engine, texts) = (self.engine.clone(), Arc::clone(&self.texts));
                tasks.spawn(call(engine, texts, Arc::clone(&self.next), batch, start + length));
            }
            let mut done = 0;
            while let Some(ended) = tasks.join_next().await {
                done += ended??;
            }
            anyhow::Ok(done)
        })?;
        // What the process spends is not only the engine's.
        Ok(Sample { requests, seconds: start.elapsed().as_secs_f64(), cpu_seconds: f64::NAN })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

/// Embeds until `end`; how many texts.
async fn call(
    engine: Engine,
    texts: Arc<[String]>,
    next: Arc<AtomicUsize>,
    batch: usize,
    end: Instant,
) -> anyhow::Result<u64> {
    let model = engine.engine().model(MODEL);
    let model = model.map_err(|why| anyhow!("{MODEL}: {why:?}; `./just model` gets it"))?;
    let mut done = 0;
    while Instant::now() < end {
        let first = next.fetch_add(batch, Relaxed);
        let text = |offset: usize| Input::from(texts[(first + offset) % texts.len()].as_str());
        let embedded = model.embed((0..batch).map(text).collect(), TooLong::Truncate).await;
        done += embedded.context("the engine failed")?.vectors.len() as u64;
    }
    Ok(done)
}
