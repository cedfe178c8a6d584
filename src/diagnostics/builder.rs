//! Puts a [`Thermograph`] together.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use thiserror::Error;

use super::{
    Config, ConsoleMode, Inner, Invalid, Ledger, Thermograph, Token, capture::Captures,
    console::Console, metrics::Exposition,
};

/// Builds a [`Thermograph`]; every setter has a default that suits a laptop.
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    config: Config,
    exposition: Vec<Exposition>,
}

/// Why a [`Thermograph`] was not built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A value is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
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

    /// Sets how many handlers the ledger keeps apart; more memory, finer rows.
    pub fn max_handlers(mut self, max: usize) -> Self {
        self.config.max_handlers = max;
        self
    }

    /// Adds metrics of the app to `/metrics`: a function that renders them in Prometheus' text
    /// format. It is called on the door's thread.
    pub fn metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.exposition.push(Exposition::new(render));
        self
    }

    /// Checks the configuration and builds; binds nothing yet.
    pub fn build(self) -> Result<Thermograph, BuildError> {
        let Self { config, exposition } = self;
        config.validate()?;
        let inner = Inner {
            ledger: Ledger::leak(config.max_handlers),
            captures: Captures::default(),
            console: Mutex::new(Console::new(config.console)),
            exposition,
            config,
        };
        Ok(Thermograph { inner: Arc::new(inner) })
    }
}
