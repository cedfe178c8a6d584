//! `thermograph handlers`: prints what each handler of a running service has cost.

use std::time::Duration;

use anyhow::Context as _;

use super::client::{self, Client};
use thermograph::handlers::LedgerReport;

/// Print what each handler of a running service has cost.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The diagnostics to ask.
    #[command(flatten)]
    pub client: client::Args,
    /// Over the next N seconds, instead of since the start.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=300))]
    pub seconds: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints the ledger.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let report = ask(&Client::from(&args.client), args.seconds)?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        anstream::print!("{report}");
    }
    Ok(())
}

/// The ledger since the start, or over the next `seconds`.
pub(crate) fn ask(client: &Client, seconds: Option<u64>) -> anyhow::Result<LedgerReport> {
    let window = seconds.map_or(String::new(), |seconds| format!("?seconds={seconds}"));
    let wait = Duration::from_secs(seconds.unwrap_or(0));
    let body = client.get(&format!("/debug/handlers{window}"), wait)?;
    serde_json::from_slice(&body).context("the answer is not that of this program's diagnostics")
}
