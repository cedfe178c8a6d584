//! Puts a [`Thermograph`] together.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use thermograph_profile::captures::Folder;
use thiserror::Error;

use super::Thermograph;
use crate::{
    capture::Captures,
    checks::{Examine, Finding},
    config::{Config, ConsoleMode, HeapMode, Invalid, Stacks, Token},
    console::Console,
    exposition::Exposition,
    handlers::Ledger,
    history::History,
    instance::{Instance, Parts},
    pool::Pools,
    reach::Probe,
    recorder::Recorder,
    stall,
};

/// Scrapes at a time that have the app's own metrics rendered.
const RENDERINGS: usize = 4;

/// Builds a [`Thermograph`]; every setter has a default that suits a laptop.
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    config: Config,
    exposition: Vec<Exposition>,
    examinations: Vec<Examine>,
}

/// Why a [`Thermograph`] was not built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A value is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The watchdog's threads could not be started.
    #[error("cannot start the watchdog")]
    Watchdog(#[from] std::io::Error),
}

impl Builder {
    /// Replaces the whole configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the address of the door; see [`Config::listen`].
    pub fn listen(mut self, listen: impl Into<SocketAddr>) -> Self {
        self.config.listen = listen.into();
        self
    }

    /// Sets the token; see [`Config::token`].
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Token::new(token);
        self
    }

    /// Sets when tokio-console is fed; see [`ConsoleMode`] for what each choice costs.
    pub fn console(mut self, console: ConsoleMode) -> Self {
        self.config.console = console;
        self
    }

    /// Sets the address of the console; see [`Config::console_listen`].
    pub fn console_listen(mut self, listen: impl Into<SocketAddr>) -> Self {
        self.config.console_listen = listen.into();
        self
    }

    /// Sets how many requests a second tokio-console shows by name; see
    /// [`Config::named_per_second`] for what a row takes.
    pub fn named_per_second(mut self, most: u32) -> Self {
        self.config.named_per_second = most;
        self
    }

    /// Sets how many handlers the ledger keeps apart; more memory, finer rows.
    pub fn max_handlers(mut self, max: usize) -> Self {
        self.config.max_handlers = max;
        self
    }

    /// Sets the length from which a poll is a stall, 1 ms to 10 s; see [`Config::threshold`].
    pub fn threshold(mut self, threshold: Duration) -> Self {
        self.config.threshold = threshold;
        self
    }

    /// Sets how the stacks of stalls are taken; see [`Stacks`] for the choices.
    pub fn stacks(mut self, stacks: Stacks) -> Self {
        self.config.stacks = stacks;
        self
    }

    /// Sets when memory is sampled; see [`HeapMode`] for what each choice shows.
    pub fn heap(mut self, heap: HeapMode) -> Self {
        self.config.heap = heap;
        self
    }

    /// Sets how many stalls are kept one by one; see [`Config::max_stalls`].
    pub fn max_stalls(mut self, max: usize) -> Self {
        self.config.max_stalls = max;
        self
    }

    /// Sets the folder in whose `profiles` and `flamegraphs` captures are kept; see
    /// [`Config::folder`].
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.folder = folder.into();
        self
    }

    /// Sets how many captures are kept at most; see [`Config::max_captures`].
    pub fn max_captures(mut self, max: usize) -> Self {
        self.config.max_captures = max;
        self
    }

    /// Adds metrics of the app to `/metrics`: a function that renders them in Prometheus' text
    /// format. It runs on a blocking thread of the diagnostics; while it
    /// takes longer than a second, its metrics are left out.
    pub fn metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.exposition.push(Exposition::new(render));
        self
    }

    /// Adds findings of the app to the [doctor](crate::doctor): a function that makes them. It runs on a
    /// blocking thread of the diagnostics each time that the doctor is asked.
    pub fn examine(mut self, examine: impl Fn() -> Vec<Finding> + Send + Sync + 'static) -> Self {
        self.examinations.push(Examine::new(examine));
        self
    }

    /// Checks the configuration and builds; starts the watchdog, and binds nothing yet.
    pub fn build(self) -> Result<Thermograph, BuildError> {
        let Self { config, exposition, examinations } = self;
        config.validate()?;
        #[cfg(sampler)]
        thermograph_sampler::report_problems_to(|problem| {
            crate::log::submit(move || tracing::warn!("{problem}"));
        });
        let ledger = Ledger::leak_with(config.max_handlers, config.threshold);
        ledger.budget().set(config.named_per_second);
        let stalls = stall::Watch::start(ledger, config.max_stalls, config.stacks)?;
        let history = History::start(ledger, Arc::clone(stalls.store()))?;
        let pools = Pools::start(ledger, config.stacks != Stacks::Off)?;
        let probe = Probe::default();
        let parts = Parts {
            ledger,
            history,
            stalls,
            pools,
            captures: Captures::new(config.heap),
            folder: Arc::new(Folder::new(&config.folder, config.max_captures)),
            console: Mutex::new(Console::new(config.console, ledger, &probe)),
            exposition,
            examinations,
            rendering: Arc::new(tokio::sync::Semaphore::new(RENDERINGS)),
            recorder: Recorder::default(),
            probe,
            #[cfg(all(sampler, tokio_unstable))]
            asking: crate::capture::Turns::default(),
            #[cfg(tokio_unstable)]
            hooks: std::sync::OnceLock::new(),
            config,
        };
        Ok(Thermograph { instance: Instance(Arc::new(parts)) })
    }
}
