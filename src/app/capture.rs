//! `thermograph capture`: a profile of a running service, kept in every form.
//!
//! One capture is asked for; the other forms are made from it here, so that all show the same.

mod decode;
mod files;
mod kept;
mod what;

use std::{thread, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

pub use self::what::What;
pub(crate) use self::{
    decode::decode,
    files::{Files, write},
    kept::Kept,
    what::Window,
};
use super::client::{self, Client};

/// Capture a profile of a running service, and draw its flame graph.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to capture.
    pub what: What,
    /// The diagnostics to ask.
    #[command(flatten)]
    pub client: client::Args,
    /// How long to capture.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=300))]
    pub seconds: u64,
    /// Samples a second of CPU time, or of wall-clock time.
    #[arg(long, value_name = "HERTZ", default_value = "99", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub frequency: u32,
}

/// Captures, and keeps what was captured.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let window = Window { seconds: args.seconds, frequency: args.frequency };
    let (client, what) = (Client::from(&args.client), args.what);
    let capture = thread::spawn(move || what.capture(&client, window));
    show(&format!("capturing {}", what.name()), args.seconds, &capture);
    let files = match capture.join() {
        Ok(captured) => captured?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let name = format!("{}-{}", what.name(), Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    for path in files.write(&name)? {
        anstream::println!("{}", path.display());
    }
    if files.is_empty() {
        anstream::eprintln!("thermograph: nothing was captured: was the service at work?");
    }
    Ok(())
}

/// A bar with the seconds that are left, while something is captured.
pub(crate) fn show<T>(what: &str, seconds: u64, capture: &thread::JoinHandle<T>) {
    const TICK: Duration = Duration::from_millis(100);
    // indicatif draws to stderr, and only to a terminal.
    let bar = ProgressBar::new(seconds * 10);
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what.to_owned());
    while !capture.is_finished() {
        thread::sleep(TICK);
        bar.inc(1);
        let left = (seconds * 10).saturating_sub(bar.position()).div_ceil(10);
        let message = if left > 0 { format!("{left} s left") } else { "drawing".to_owned() };
        bar.set_message(message);
    }
    bar.finish_and_clear();
}
