//! Where a configuration is loaded from, and loaded from again.

use std::path::{Path, PathBuf};

use super::{ConfigError, Flag, Loaded, layers::DEFAULT_FILE, load};

/// Where a configuration is loaded from, beside the environment of the process.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file that was named, or `thermograph.toml` if it is there.
    pub file: Option<PathBuf>,
    /// The flags.
    pub flags: Vec<Flag>,
}

impl Source {
    /// `named`, or `thermograph.toml` if it is there: a file that goes away later is missed.
    pub fn new(named: Option<&Path>, flags: Vec<Flag>) -> Self {
        let default = Path::new(DEFAULT_FILE);
        let file = named.or_else(|| default.exists().then_some(default)).map(Path::to_owned);
        Self { file, flags }
    }

    /// Loads the configuration; blocks while it reads the file.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        load(self.file.as_deref(), std::env::vars_os(), &self.flags)
    }
}
