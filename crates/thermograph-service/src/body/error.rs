//! Reasons why a request body was not read.

use bytesize::ByteSize;
use thiserror::Error;

/// Reason why a request body was not read.
#[derive(Debug, Error)]
pub(crate) enum BodyError {
    /// It is larger than bodies may be.
    #[error("the body is larger than {0}")]
    TooLarge(ByteSize),
    /// There is no memory left for it.
    #[error("request bodies fill the memory that they may take")]
    NoMemory,
    /// Its connection failed.
    #[error("the body could not be read: {0}")]
    Broken(axum::Error),
    /// Its compression, by name, is none that is read.
    #[error("content-encoding: `{0}` is not understood: {offered}", offered = super::Encoding::OFFERED)]
    UnknownEncoding(String),
}
