//! `thermograph load`: drives traffic at a service and tells its latencies.
//!
//! Two loops, which answer two questions:
//!
//! - **closed** (the default): each connection sends when its last answer came. It shows what the
//!   service can do at most, and how long it works on a request. It cannot show what clients feel:
//!   while the service stalls, it asks for nothing, so the stall counts once for each connection.
//! - **open** (`--rate`): requests are due on a fixed schedule, whatever the service does, and
//!   latency counts from the moment a request was due. A stall then delays all that fell due
//!   meanwhile, as it would delay clients (no coordinated omission).
//!
//! It speaks plain HTTP/1.1 and checks statuses and complete bodies, not what is in them.
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//! use thermograph_server::load::{Counts, Limit, Mix, Pace, Plan, Traffic, drive};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plan = Plan {
//!     address: "http://127.0.0.1:8080".parse()?,
//!     traffic: Traffic::embeddings(Mix::default(), Mix::MODEL)?,
//!     connections: 16,
//!     limit: Limit::Time(Duration::from_secs(10)),
//!     pace: Pace::Open { rate: 50.0 },
//!     warmup: Duration::from_secs(1),
//!     timeout: Duration::from_secs(10),
//! };
//! let report = drive(&plan, &Arc::new(Counts::default()), &CancellationToken::new()).await;
//! println!("{report}");
//! # Ok(()) }
//! ```

mod address;
mod args;
mod connection;
mod drive;
mod failure;
mod mix;
mod plan;
mod progress;
mod report;
mod table;
mod tally;
mod target;
mod text;
mod tickets;
mod traffic;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::{net::TcpStream, runtime, time};
use tokio_util::sync::CancellationToken;

use self::progress::Progress;
pub use self::{
    address::{Address, BadAddress},
    args::{Args, TrafficArgs},
    drive::drive,
    mix::{BadMix, Mix},
    plan::{Limit, Pace, Plan},
    report::{Latency, Report, Row},
    tally::{Counts, Errors},
    target::{BadTarget, Target},
    traffic::{BadTraffic, Traffic},
};
use super::shutdown;

/// Drives the traffic that the arguments ask for, and prints the report.
pub fn run(args: Args) -> anyhow::Result<()> {
    let (json, fail_on_error) = (args.json, args.fail_on_error);
    let plan = args.plan()?;
    // One thread: the machine's others belong to the service, if it runs here too.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        reach(&plan).await?;
        let stop = shutdown::on_signal()?.requested;
        Ok::<_, anyhow::Error>(watched(&plan, "driving", &stop).await)
    })?;
    if json {
        anstream::println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        anstream::print!("{report}");
    }
    if fail_on_error && report.total.failed > 0 {
        bail!("{} of {} requests failed", report.total.failed, report.total.requests);
    }
    Ok(())
}

/// [`drive()`], with a progress bar on a terminal that says what is being done.
pub(crate) async fn watched(plan: &Plan, doing: &'static str, stop: &CancellationToken) -> Report {
    let counts = Arc::new(Counts::default());
    let progress = Progress::new(plan, doing);
    tokio::select! {
        report = drive(plan, &counts, stop) => report,
        // Never ends first. Cancel-safe: it only shows numbers.
        never = progress.follow(&counts) => match never {},
    }
}

/// Fails now, with one clear line, where every request would.
async fn reach(plan: &Plan) -> anyhow::Result<()> {
    let connect = TcpStream::connect(plan.address.sockets());
    let reached = time::timeout(plan.timeout, connect).await;
    let reached = reached.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    reached.with_context(|| {
        format!("nothing answers at {} (is the service running?)", plan.address)
    })?;
    Ok(())
}
