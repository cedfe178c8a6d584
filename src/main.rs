//! The binary: allocator, parse, run.

use std::process::ExitCode;

use clap::Parser as _;
use thermograph_server::Cli;

thermograph::jemalloc!();

fn main() -> ExitCode {
    thermograph_server::run(Cli::parse())
}
