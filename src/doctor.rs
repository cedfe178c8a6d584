//! `thermograph doctor`: what the build and the machine of a running service can show.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use owo_colors::OwoColorize as _;

use super::client::{self, Client};
use thermograph::doctor::{Examination, State};

/// Say what a running service can show and what it cannot, with the line that mends it.
///
/// Exits with 2 where something is bad; a warning is no failure.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The diagnostics to ask.
    #[command(flatten)]
    pub client: client::Args,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Something is bad.
const BAD: u8 = 2;

/// Asks and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let body = Client::from(&args.client).get("/debug/doctor", Duration::ZERO)?;
    let examination: Examination = serde_json::from_slice(&body)
        .context("the answer is not that of this program's diagnostics")?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&examination)?);
    } else {
        anstream::print!("{}", examination.text(paint));
    }
    let is_bad = examination.worst() == State::Bad;
    Ok(if is_bad { ExitCode::from(BAD) } else { ExitCode::SUCCESS })
}

/// Colours a state; anstream takes colours out where there is no terminal.
fn paint(state: State, word: &str) -> String {
    match state {
        State::Bad => word.red().bold().to_string(),
        State::Warning => word.yellow().bold().to_string(),
        State::Good => word.green().to_string(),
    }
}
