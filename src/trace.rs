//! `thermograph trace`: a timeline of a running service's polls, kept in a file.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, SystemTime},
};

use thermograph_profile::captures::{Form, Kind, Name, write};

use super::{
    capture::show,
    captures,
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
    let start = SystemTime::now();
    let recording = thread::spawn(move || client.get(&path, Duration::from_secs(seconds)));
    show("recording", seconds, &recording);
    let trace = match recording.join() {
        Ok(recorded) => recorded?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    if let Some(output) = &args.output {
        write(output, &trace)?;
        anstream::println!("{}", output.display());
    } else {
        let name = Name::new(start, Kind::Trace, None);
        let name = captures::here().save(name, &[(Form::Json, &trace)])?;
        anstream::println!("{}", Form::Json.file(&name));
    }
    anstream::eprintln!("open it at https://ui.perfetto.dev, or in chrome://tracing");
    Ok(())
}
