//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{capture, diagnose, diff, flamegraph, handlers, load, model, serve, tasks, trace};

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
    /// Get the weights of the local model.
    #[command(subcommand)]
    Model(model::Args),
    /// Drive traffic at a service and tell its latencies.
    Load(load::Args),
    /// Capture a profile of a running service, and draw its flame graph.
    Capture(capture::Args),
    /// Draw what changed between two captures.
    Diff(diff::Args),
    /// Say which handler of a running service is ill, why, and what to try.
    Diagnose(diagnose::Args),
    /// Print what each handler of a running service has cost.
    Handlers(handlers::Args),
    /// Print what every task of a running service is, and what it waits for.
    Tasks(tasks::Args),
    /// Record a timeline of a running service: polls, requests, stalls and spans, for Perfetto.
    Trace(trace::Args),
    /// Start a service, drive it, and draw flame graphs of what it did.
    Flamegraph(flamegraph::Args),
}
