//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{
    capture, captures, diagnose, diff, doctor, flamegraph, handlers, keys, load, mock, model, perf,
    serve, tasks, trace,
};

/// An AI API that shows from the inside which handlers run hot and which block the executor.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Configuration file; `thermograph.toml` in this folder is read if it is there.
    #[arg(long, global = true, value_name = "FILE", env = "THERMOGRAPH_CONFIG")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the AI API, and the diagnostics beside it.
    Serve(serve::Args),
    /// Print the configuration in effect, each value with where it came from.
    Config,
    /// Make, list and end keys of the API.
    #[command(subcommand)]
    Keys(keys::Args),
    /// Get the weights of the local model.
    #[command(subcommand)]
    Model(model::Args),
    /// Drive traffic at a service and tell its latencies.
    Load(load::Args),
    /// Play an AI API for tests and benches: paced, failing or silent, as it is told.
    Mock(mock::Args),
    /// Capture a profile of a running service, and draw its flame graph.
    Capture(capture::Args),
    /// List what was captured and kept.
    Captures(captures::Args),
    /// Draw what changed between two captures.
    Diff(diff::Args),
    /// Say which handler of a running service is ill, why, and what to try.
    Diagnose(diagnose::Args),
    /// Say what a running service can show and what it cannot, with the line that mends it.
    Doctor(doctor::Args),
    /// Print what each handler of a running service has cost.
    Handlers(handlers::Args),
    /// Record a service with perf while it is driven, and compare that with our own capture.
    Perf(perf::Args),
    /// Print what every task of a running service is, and what it waits for.
    Tasks(tasks::Args),
    /// Record a timeline of a running service: polls, requests, stalls and spans, for Perfetto.
    Trace(trace::Args),
    /// Start a service, drive it, and draw flame graphs of what it did.
    Flamegraph(flamegraph::Args),
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::CommandFactory as _;

    use super::*;

    /// Clap derives an argument group from each struct and names it after the struct. In debug builds
    /// it panics if a command has two groups with the same name.
    #[test]
    fn groups_of_arguments_have_names_of_their_own() {
        for command in Cli::command().get_subcommands() {
            let mut names = HashSet::new();
            for group in command.get_groups() {
                assert!(names.insert(group.get_id()), "{}: {group:?}", command.get_name());
            }
        }
    }
}
