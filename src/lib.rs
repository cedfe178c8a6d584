//! An OpenAI-compatible API server that shows from the inside which handlers run hot and which block
//! the executor.
//!
//! The only place that names both the service ([`thermograph_service`]) and the diagnostics
//! ([`thermograph`]).
//!
//! # Modules, from the bottom up
//!
//! - `addresses`, `captures`, `config`, `files`, `findings`, `model`, `shutdown`: no module of the
//!   binary is below these.
//! - `client`, `keys`, `load`, `server`, `telemetry`: HTTP clients, keys of the API, the load
//!   generator, connections, logs and metrics.
//! - `capture`, `doctor`, `handlers`, `mock`, `reload`: commands, and the configuration that is
//!   written anew.
//! - `diagnose`, `diff`, `serve`, `tasks`, `trace`: commands; `serve` puts the service and the
//!   diagnostics together.
//! - `flamegraph`: the service driven, captured and drawn.
//! - `perf`: the same, recorded by perf.
//! - `cli`: the command line.

#![forbid(unsafe_code)]

mod addresses;
pub mod capture;
pub mod captures;
mod cli;
pub mod client;
pub mod config;
pub mod diagnose;
pub mod diff;
pub mod doctor;
mod files;
mod findings;
pub mod flamegraph;
pub mod handlers;
pub mod keys;
pub mod load;
pub mod mock;
pub mod model;
pub mod perf;
mod reload;
pub mod serve;
mod server;
mod shutdown;
pub mod tasks;
mod telemetry;
pub mod trace;

use std::process::ExitCode;

pub use cli::{Cli, Command};

use thermograph_common::task;

/// Runs a command; an error is printed with its causes, and is exit code 1.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("thermograph: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { config, command } = cli;
    match command {
        Command::Serve(args) => serve::run(config.as_deref(), &args),
        Command::Config => config::print(config.as_deref()),
        Command::Keys(args) => keys::run(config.as_deref(), &args),
        Command::Model(args) => model::run(args),
        Command::Load(args) => load::run(args),
        Command::Mock(args) => mock::run(args),
        Command::Capture(args) => capture::run(&args),
        Command::Captures(args) => captures::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Tasks(args) => tasks::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Handlers(args) => handlers::run(&args),
        Command::Perf(args) => perf::run(config.as_deref(), &args),
        Command::Flamegraph(args) => flamegraph::run(config.as_deref(), &args),
        Command::Diagnose(args) => return diagnose::run(&args),
        Command::Doctor(args) => return doctor::run(&args),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
