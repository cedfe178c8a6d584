//! `thermograph capture`: a profile of a running service, kept in every form.
//!
//! One capture is asked for; the other forms are made from it here, so that all show the same.

mod captured;
mod kept;
mod what;

use std::{thread, time::Duration};

pub use self::what::What;
pub(crate) use self::{
    captured::Captured,
    kept::{Kept, unfold},
    what::Window,
};
use super::{
    captures,
    client::{self, Client},
};
use indicatif::{ProgressBar, ProgressStyle};

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
    /// Only what was done for this route, such as `/v1/embeddings`.
    #[arg(long, value_name = "ROUTE", value_parser = route)]
    pub route: Option<String>,
}

/// Captures, and keeps what was captured.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let window = Window { seconds: args.seconds, frequency: args.frequency };
    let (client, what, route) = (Client::from(&args.client), args.what, args.route.clone());
    let capture = thread::spawn(move || what.capture(&client, window, route.as_deref()));
    show(&format!("capturing {}", what.name()), args.seconds, &capture);
    let captured = match capture.join() {
        Ok(captured) => captured?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let handler = captured.handler.as_deref();
    for path in captured.keep(&captures::here(), captured.profile.start, handler)? {
        anstream::println!("{path}");
    }
    if captured.profile.is_empty() {
        anstream::eprintln!("thermograph: nothing was captured: was the service at work?");
    }
    Ok(())
}

pub(crate) fn route(text: &str) -> Result<String, &'static str> {
    /// As long as the diagnostics allow.
    const MAX: usize = 1024;
    if text.is_empty() || text.len() > MAX {
        return Err("a route such as /v1/embeddings is wanted, of at most 1024 bytes");
    }
    Ok(text.to_owned())
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
