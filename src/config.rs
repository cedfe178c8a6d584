//! The configuration: defaults, then `thermograph.toml`, then the environment, then flags.
//!
//! Every value has one path, such as `engine.threads`, and by it one variable,
//! `THERMOGRAPH_ENGINE_THREADS`. Unknown keys and bad values stop the start.

mod allowed;
mod changes;
mod conflicts;
mod kubernetes;
mod layers;
mod listen;
mod models;
mod origin;
mod secrets;
mod sections;
mod source;
mod tls_files;

use std::path::Path;

pub use self::{
    layers::{ConfigError, Flag, Loaded, load},
    listen::{Listen, Mode},
    models::Models,
    origin::Origin,
    sections::{Api, Config, Log, LogFormat},
    source::Source,
};

pub(crate) use self::{
    secrets::read as read_secret,
    tls_files::{CERT, CLIENT_CA, KEY, TlsFiles},
};

/// `thermograph config`: prints the configuration in effect as a file that could be loaded.
pub fn print(file: Option<&Path>) -> anyhow::Result<()> {
    let loaded = load(file, std::env::vars_os(), &[])?;
    anstream::print!("{}", loaded.describe());
    Ok(())
}
