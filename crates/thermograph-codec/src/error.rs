//! Why a body could not be translated, and where in it.

use std::fmt;

use thiserror::Error;

use crate::codec::Codec;

/// The deepest nesting that is read.
pub(crate) const DEPTH: usize = 128;

/// Reason why a body is malformed, or has no form in the other codec, and the place of the fault.
#[derive(Debug, Error)]
pub struct CodecError {
    problem: Problem,
    /// The way there, innermost first.
    path: Vec<Step>,
}

/// A media type that belongs to no codec, as the client sent it.
#[derive(Debug, Error)]
#[error("`{0}` is not understood: {offered}", offered = Codec::OFFERED)]
pub struct UnknownMediaType(pub String);

/// What is wrong.
#[derive(Debug, Error)]
pub(super) enum Problem {
    #[error("it ends in the middle of a value")]
    Ended,
    #[error("{0} bytes follow after the value")]
    Trailing(usize),
    #[error("it is nested deeper than {} levels", DEPTH)]
    TooDeep,
    #[error("the result would be too large")]
    TooLarge,
    #[error("a key is not text but {0}")]
    Key(&'static str),
    #[error("text is not UTF-8")]
    Utf8,
    #[error("{0} has no form in JSON")]
    NotFinite(f64),
    #[error("an integer does not fit in 64 bits")]
    Integer,
    #[error("extension type {0} has no form in JSON")]
    Extension(i8),
    #[error("simple value {0} has no form in JSON")]
    Simple(u8),
    #[error("byte 0x{0:02x} begins no value")]
    Byte(u8),
    #[error("a length is more than there can be")]
    Length,
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// One step into a value.
#[derive(Debug)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Longest key that is shown of a way.
const LONGEST: usize = 64;

impl CodecError {
    /// Returns whether the result exceeds its limit, rather than the body being at fault.
    pub fn is_too_large(&self) -> bool {
        matches!(self.problem, Problem::TooLarge)
    }

    pub(super) fn at_index(mut self, index: usize) -> Self {
        self.path.push(Step::Index(index));
        self
    }

    pub(super) fn at_key(mut self, key: &str) -> Self {
        self.path.push(Step::Key(key.chars().take(LONGEST).collect()));
        self
    }
}

impl From<Problem> for CodecError {
    fn from(problem: Problem) -> Self {
        Self { problem, path: Vec::new() }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.path.iter().rev().enumerate() {
            match step {
                Step::Key(key) if place == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.problem)
    }
}
