//! How soon a stall has its stack: from the moment in which a poll is too long.
//!
//! On whichever cores the system chooses, as in life.

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use axum::{Router, routing::get};
use thermograph::{ConsoleMode, Stall, Thermograph};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};

use crate::{
    client::{self, Clients},
    figure::{Bound, Figure},
    poll::cpu_time,
    spread::Spread,
};

/// Calls of each handler.
pub(crate) const CALLS: usize = 200;
pub(crate) const QUICK: usize = 40;

/// How long a handler keeps its worker: more than the threshold, which is 10 ms.
const ILLNESS: Duration = Duration::from_millis(25);
/// Longest time until all stalls are in the books.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn measure(calls: usize) -> anyhow::Result<Vec<Figure>> {
    let builder = Thermograph::builder().console(ConsoleMode::Off);
    let thermograph = builder.max_stalls(10_000).build()?;
    let app = Router::new().route("/sleep", get(sleep)).route("/compute", get(compute));
    let (_runtime, address) = serve(app.layer(thermograph.layer()))?;
    let mut client = Clients::connect(address, 1)?;
    for _ in 0..calls {
        for path in ["/sleep", "/compute"] {
            client.ask(&client::get(path))?;
        }
    }
    let sleeps = ("/sleep", "sleeps for 25 ms");
    [sleeps, ("/compute", "computes for 25 ms")]
        .map(|(route, does)| figure(&ended(&thermograph, route, calls)?, does))
        .into_iter()
        .collect()
}

async fn sleep() {
    thread::sleep(ILLNESS);
}

async fn compute() {
    let until = cpu_time() + ILLNESS;
    while cpu_time() < until {
        for number in 0..1000 {
            black_box(number);
        }
    }
}

fn serve(app: Router) -> anyhow::Result<(Runtime, SocketAddr)> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    runtime.spawn(async { axum::serve(listener, app).await });
    Ok((runtime, address))
}

/// The stalls of a handler: the watchdog takes the last a moment after its call was answered.
fn ended(thermograph: &Thermograph, route: &str, calls: usize) -> anyhow::Result<Vec<Stall>> {
    let start = Instant::now();
    loop {
        let mut stalls = thermograph.stalls();
        stalls.retain(|stall| stall.route == route && stall.ended);
        if stalls.len() >= calls {
            return Ok(stalls);
        }
        ensure!(start.elapsed() < PATIENCE, "{route}: {} stalls of {calls}", stalls.len());
        thread::sleep(Duration::from_millis(10));
    }
}

fn figure(stalls: &[Stall], does: &str) -> anyhow::Result<Figure> {
    let after: Vec<_> = stalls.iter().filter_map(|stall| stall.captured_after_ms).collect();
    ensure!(!after.is_empty(), "a handler that {does}: no stack at all");
    let after = Spread::of(after);
    Ok(Figure {
        name: "stack",
        what: format!("ms: from the threshold to the stack of a handler that {does}, median"),
        value: after.median(),
        bound: Bound::Below(1.0),
        conditions: format!(
            "{} calls, {} stacks: {after:.3}, p99 {:.3} ms",
            stalls.len(),
            after.count(),
            after.quantile(0.99)
        ),
    })
}
