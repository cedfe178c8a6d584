//! `thermograph tasks`: what every task of a running service is, and what it waits for.

use std::{fmt::Write as _, time::Duration};

use anyhow::Context as _;

use super::{
    capture,
    client::{self, Client, escaped},
};
use thermograph::TaskReport;

/// Print what every task of a running service is, and what it waits for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The diagnostics to ask.
    #[command(flatten)]
    pub client: client::Args,
    /// Ask requests and labelled futures where they wait.
    #[arg(long)]
    pub full: bool,
    /// Longest time to wait for their answers.
    #[arg(long, value_name = "N", requires = "full", value_parser = clap::value_parser!(u64).range(1..=10))]
    pub seconds: Option<u64>,
    /// Only tasks of this route.
    #[arg(long, value_name = "ROUTE", value_parser = capture::route)]
    pub route: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints the tasks.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let wait = Duration::from_secs(args.seconds.unwrap_or(2));
    let body = Client::from(&args.client).get(&path(args), wait)?;
    let report: TaskReport = serde_json::from_slice(&body)
        .context("the answer is not that of this program's diagnostics")?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        anstream::print!("{report}");
    }
    Ok(())
}

fn path(Args { full, seconds, route, .. }: &Args) -> String {
    let mut path = format!("/debug/tasks?full={full}");
    // Writing to a string cannot fail.
    if let Some(seconds) = seconds {
        let _ = write!(path, "&seconds={seconds}");
    }
    if let Some(route) = route {
        let _ = write!(path, "&route={}", escaped(route));
    }
    path
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn what_is_asked_for_is_in_the_path() {
        let path = |args: &[&str]| {
            let args = [&["tasks"], args].concat();
            path(&Cli::try_parse_from(args).expect("allowed").args)
        };
        assert_eq!(path(&[]), "/debug/tasks?full=false");
        let all = path(&["--full", "--seconds=3", "--route=/users/{id}?"]);
        assert_eq!(all, "/debug/tasks?full=true&seconds=3&route=/users/%7Bid%7D%3F");
    }

    #[test]
    fn bad_flags_name_the_value_and_what_is_allowed() {
        let refused = Cli::try_parse_from(["tasks", "--full", "--seconds=11"]).expect_err("bad");
        assert!(refused.to_string().contains("11 is not in 1..=10"), "{refused}");
        let refused = Cli::try_parse_from(["tasks", "--seconds=1"]).expect_err("bad");
        assert!(refused.to_string().contains("--full"), "{refused}");
    }
}
