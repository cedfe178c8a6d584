//! `thermograph flamegraph`: starts a service, drives it, and draws flame graphs of what it did.
//!
//! The load and the captures share one window: what is drawn is what was driven. Everything that
//! is started here is stopped here, whatever happens.

mod child;
mod subject;
mod take;

use std::path::{Path, PathBuf};

use anyhow::bail;
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use self::take::take;
pub(crate) use self::{
    child::stop,
    subject::Subject,
    take::{Scope, Taken, blocking},
};
use thermograph_profile::captures::slug;

use super::{
    client,
    load::{Address, TrafficArgs},
    shutdown,
};

/// Start a service, drive it, and draw flame graphs of what it did.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// How long to drive and capture.
    #[arg(long, value_name = "N", default_value = "15", value_parser = clap::value_parser!(u64).range(1..=300))]
    pub seconds: u64,
    /// Samples a second of CPU time, and of wall-clock time.
    #[arg(long, value_name = "HERTZ", default_value = "99", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub frequency: u32,
    /// Connections that drive the service, each with one request on its way at a time.
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,
    /// What is asked.
    #[command(flatten)]
    pub traffic: TrafficArgs,
    /// What the files' names end with [default: embeddings, or the name of the program].
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// Start nothing: a service is running here already.
    #[arg(long, value_name = "URL", conflicts_with = "program")]
    pub url: Option<Address>,
    /// Where the diagnostics of that service are.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:6060", requires = "url", value_parser = client::url)]
    pub diagnostics_url: String,
    /// The token of the diagnostics.
    #[command(flatten)]
    pub token: client::TokenArgs,
    /// Start this program instead of the service. It must know --listen, --diagnostics-listen,
    /// --console-listen and --addresses-file as `thermograph serve` does.
    #[arg(long, value_name = "PATH", requires = "targets")]
    pub program: Option<PathBuf>,
}

/// Starts, drives, captures, draws, stops, prints.
pub fn run(config: Option<&Path>, args: &Args) -> anyhow::Result<()> {
    let (taken, ()) = observe(config, args, Scope::All, async |_| Ok(()))?;
    anstream::print!("{}", taken.keep(&args.prefix())?);
    Ok(())
}

/// Starts, drives, captures and stops; `beside` runs over the same window.
pub(crate) fn observe<T>(
    config: Option<&Path>,
    args: &Args,
    scope: Scope,
    beside: impl AsyncFnOnce(&Subject) -> anyhow::Result<T>,
) -> anyhow::Result<(Taken, T)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let observed = runtime.block_on(async {
        let stop = shutdown::on_signal()?.requested;
        tokio::select! {
            observed = find_and_take(config, args, scope, &stop, beside) => observed,
            // Cancelled on purpose: what was started is stopped when it is dropped.
            () = stop.cancelled() => bail!("interrupted"),
        }
    });
    // After an error a capture may still be waiting for its answer.
    runtime.shutdown_background();
    observed
}

async fn find_and_take<T>(
    config: Option<&Path>,
    args: &Args,
    scope: Scope,
    stop: &CancellationToken,
    beside: impl AsyncFnOnce(&Subject) -> anyhow::Result<T>,
) -> anyhow::Result<(Taken, T)> {
    let subject = Subject::find(config, args).await?;
    match take(&subject, args, scope, stop, beside(&subject)).await {
        Ok(taken) => Ok(taken),
        Err(error) => match subject.log() {
            Some(log) => bail!("{error:#}\nThe last lines of its log:\n{log}"),
            None => Err(error),
        },
    }
}

impl Args {
    /// What the files' names end with.
    pub(crate) fn prefix(&self) -> String {
        let program = || self.program.as_ref()?.file_stem()?.to_str().map(str::to_owned);
        self.name.clone().or_else(program).unwrap_or_else(|| "embeddings".to_owned())
    }
}

/// What may stand in the name of a capture.
fn name(text: &str) -> Result<String, &'static str> {
    match slug(text) {
        Some(name) if name == text => Ok(name),
        _ => Err("words of letters, digits and `_` are wanted, joined by `-`, of at most 64 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_folder() {
        assert_eq!(name("before-1_2"), Ok("before-1_2".to_owned()));
        for bad in ["", "..", "../x", "a/b", ".hidden", "a b", "a.b", "-a", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
