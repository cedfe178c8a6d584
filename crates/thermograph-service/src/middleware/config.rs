//! The configuration of the middleware: which of it is on.

use serde::{Deserialize, Serialize};
use thermograph_common::Invalid;

/// Which layers are on, outermost first.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// An id for every request, in its answer, its log lines and the ledger. Default is true.
    pub request_ids: bool,
    /// The diagnostics of whoever watches from outside. Default is true.
    pub watch: bool,
    /// How answers of 1 KiB or more may be compressed, if the client accepts it; streams never are.
    /// Default is none.
    pub compression: Vec<Algorithm>,
    /// Answers in MessagePack and CBOR for who asks for that. Default is true.
    pub codecs: bool,
    /// A handler that panics is a 500. Default is true.
    pub catch_panics: bool,
}

/// How an answer is compressed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Zstandard.
    Zstd,
    /// Brotli.
    Br,
    /// What every client knows.
    Gzip,
}

impl Config {
    /// Checks what the types cannot say.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let all = &self.compression;
        let is_twice = |(place, one): (usize, &Algorithm)| all[..place].contains(one);
        if all.iter().enumerate().any(is_twice) {
            let allowed = "each of zstd, br and gzip once";
            return Err(Invalid::new("middleware.compression", format!("{all:?}"), allowed));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_ids: true,
            watch: true,
            compression: Vec::new(),
            codecs: true,
            catch_panics: true,
        }
    }
}
