//! The binary: allocator, parse, run.

use std::process::ExitCode;

use clap::Parser as _;
use thermograph_server::app::{self, Cli};

thermograph::jemalloc!();

fn main() -> ExitCode {
    app::run(Cli::parse())
}
