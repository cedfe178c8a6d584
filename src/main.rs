//! The binary: parse, run.

use std::process::ExitCode;

use clap::Parser as _;
use thermograph::app::{self, Cli};

fn main() -> ExitCode {
    app::run(Cli::parse())
}
