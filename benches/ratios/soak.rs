//! Whether the service keeps its own promise: no handler holds a worker for long.
//!
//! The judge is the project's own ledger. The time of a poll is wall clock: a worker that the
//! kernel did not run is in it, so other load on the machine is, too.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use thermograph::handlers::{HandlerRow, LedgerReport};
use thermograph_server::{
    client::Client,
    load::{Counts, Errors, Limit, Mix, Pace, Plan, Report, Traffic, drive},
};
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    figure::{Bound, Figure},
    service::Service,
};

pub(crate) const LENGTH: Duration = Duration::from_secs(30);
pub(crate) const QUICK: Duration = Duration::from_secs(5);

const CLIENTS: usize = 64;
/// Longest that the ledger's window may open late or end early.
const SLACK: Duration = Duration::from_secs(1);

pub(crate) fn measure(length: Duration) -> anyhow::Result<Vec<Figure>> {
    let service = Service::start()?;
    let plan = Plan {
        address: service.addresses.api.into(),
        traffic: Traffic::embeddings(Mix::default(), Mix::MODEL)?,
        connections: CLIENTS,
        limit: Limit::Time(length + 2 * SLACK),
        pace: Pace::Closed,
        warmup: Duration::ZERO,
        timeout: Duration::from_mins(1),
    };
    let client = Client::new(&format!("http://{}", service.addresses.diagnostics), None);
    let ledger = thread::spawn(move || window(&client, length));
    let report = run(&plan)?;
    let ledger = ledger.join().map_err(|_| anyhow!("the ledger was not read"))??;
    figures(&report, &ledger)
}

/// The ledger of the time in which everything runs.
fn window(client: &Client, length: Duration) -> anyhow::Result<LedgerReport> {
    thread::sleep(SLACK);
    let path = format!("/debug/handlers?seconds={}", length.as_secs());
    Ok(serde_json::from_slice(&client.get(&path, length)?)?)
}

fn run(plan: &Plan) -> anyhow::Result<Report> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let counts = Arc::new(Counts::default());
    Ok(runtime.block_on(drive(plan, &counts, &CancellationToken::new())))
}

fn figures(report: &Report, ledger: &LedgerReport) -> anyhow::Result<Vec<Figure>> {
    let by_longest = |a: &&HandlerRow, b: &&HandlerRow| a.poll_ms.max.total_cmp(&b.poll_ms.max);
    let worst = ledger.handlers.iter().max_by(by_longest);
    let worst = worst.context("the ledger is empty")?;
    let total = &report.total;
    let soaked = format!("{CLIENTS} clients for {:.0} s, the driver's default mix", ledger.seconds);
    Ok(vec![
        Figure {
            name: "soak",
            what: format!("ms: longest poll of a handler; {soaked}"),
            value: worst.poll_ms.max,
            bound: Bound::Below(10.0),
            conditions: format!(
                "{} {}: {} polls, p50 {:.3} ms, p99 {:.3} ms",
                worst.method, worst.route, worst.polls, worst.poll_ms.p50, worst.poll_ms.p99
            ),
        },
        Figure {
            name: "soak",
            what: "errors".to_owned(),
            value: total.failed as f64,
            bound: Bound::Below(1.0),
            conditions: format!(
                "{} requests, {:.0} requests/s, {:.0} texts/s, p50 {:.0} ms, p99 {:.0} ms{}",
                total.requests,
                total.requests_per_second,
                total.inputs_per_second,
                total.latency_ms.p50,
                total.latency_ms.p99,
                errors(report)
            ),
        },
    ])
}

fn errors(report: &Report) -> String {
    let said = |(kind, errors): (&String, &Errors)| {
        format!("; {} × {kind}: {}", errors.count, errors.example)
    };
    report.errors.iter().map(said).collect()
}
