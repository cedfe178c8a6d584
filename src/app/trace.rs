//! `thermograph trace`: a timeline of a running service's polls, kept in a file.

use std::{path::PathBuf, thread, time::Duration};

use jiff::Timestamp;

use super::{
    capture::{show, write},
    client::{self, Client},
};

/// Record a timeline of a running service: polls, requests, stalls and spans, for Perfetto.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The diagnostics to ask.
    #[command(flatten)]
    pub client: client::Args,
    /// How long to record.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Where to keep it; `profiles/<time>-trace.json.gz` unless given.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End a recording of somebody else's.
    #[arg(long)]
    pub force: bool,
}

/// Records, and keeps what was recorded.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let (client, seconds, force) = (Client::from(&args.client), args.seconds, args.force);
    let path = format!("/debug/pprof/trace?seconds={seconds}&format=gzip&force={force}");
    let recording = thread::spawn(move || client.get(&path, Duration::from_secs(seconds)));
    show("recording", seconds, &recording);
    let trace = match recording.join() {
        Ok(recorded) => recorded?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let name = || format!("profiles/{}-trace.json.gz", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let output = args.output.clone().unwrap_or_else(|| name().into());
    write(&output, &trace)?;
    anstream::println!("{}", output.display());
    anstream::eprintln!("open it at https://ui.perfetto.dev, or in chrome://tracing");
    Ok(())
}
