//! `thermograph diagnose`: which handler of a running service is ill, why, and what to try.

use std::{process::ExitCode, thread, time::Duration};

use anyhow::Context as _;
use owo_colors::OwoColorize as _;

use super::{
    capture::show,
    client::{self, Client},
};
use thermograph::diagnosis::{Diagnosis, Finding};

/// Say which handler of a running service is ill, why, and what to try.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The diagnostics to ask.
    #[command(flatten)]
    pub client: client::Args,
    /// How long to look; CPU time is captured meanwhile. 0 judges the last five minutes, at once.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u64).range(0..=300))]
    pub seconds: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Exit with code 2 if a handler is that bad, or worse.
    #[arg(long, value_name = "VERDICT")]
    pub fail_on: Option<FailOn>,
}

/// From which verdict on a diagnosis is a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum FailOn {
    /// A handler keeps workers of the runtime to itself.
    Blocking,
    /// A handler does that, or takes much of the processors.
    Hot,
}

/// What `--fail-on` exits with.
const FAILED: u8 = 2;

/// Asks, prints, and judges the judgement.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (client, seconds) = (Client::from(&args.client), args.seconds);
    let asking = thread::spawn(move || ask(&client, seconds));
    show("diagnosing", seconds, &asking);
    let diagnosis = match asking.join() {
        Ok(answer) => answer?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&diagnosis)?);
    } else {
        anstream::print!("{}", diagnosis.text(paint));
    }
    let is_failure = args.fail_on.is_some_and(|limit| diagnosis.worst() <= limit.finding());
    Ok(if is_failure { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Asks for a diagnosis of the next seconds; of the last five minutes if they are 0.
pub(crate) fn ask(client: &Client, seconds: u64) -> anyhow::Result<Diagnosis> {
    let window = if seconds > 0 { format!("?seconds={seconds}") } else { String::new() };
    let path = format!("/debug/diagnosis{window}");
    let body = client.get(&path, Duration::from_secs(seconds))?;
    serde_json::from_slice(&body).context("the answer is not that of this program's diagnostics")
}

/// Colours what belongs to a verdict; anstream takes colours out where there is no terminal.
pub(crate) fn paint(finding: Finding, word: &str) -> String {
    match finding {
        Finding::Blocking => word.red().bold().to_string(),
        Finding::Hot => word.yellow().bold().to_string(),
        Finding::Healthy => word.green().to_string(),
    }
}

impl FailOn {
    fn finding(self) -> Finding {
        match self {
            Self::Blocking => Finding::Blocking,
            Self::Hot => Finding::Hot,
        }
    }
}
