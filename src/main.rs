//! The binary: allocator, parse, run.

#[cfg(target_os = "linux")]
mod allocator;

use std::process::ExitCode;

use clap::Parser as _;
use thermograph::app::{self, Cli};

fn main() -> ExitCode {
    app::run(Cli::parse())
}
