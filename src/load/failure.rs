//! How a request fails.

use std::{io, time::Duration};

use http::StatusCode;
use thiserror::Error;

/// Why there is no good answer.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Connect(#[from] io::Error),
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the connection ended before the answer: {0}")]
    Closed(#[source] hyper::Error),
    #[error("{0}{separator}{1}", separator = if .1.is_empty() { "" } else { ": " })]
    Status(StatusCode, String),
    #[error("the answer's body is incomplete: {0}")]
    Body(#[source] hyper::Error),
    #[error("due, but no connection was free before the end")]
    Unsent,
    #[error("on its way when the driver was stopped")]
    Interrupted,
    #[error("{0}")]
    Request(#[from] super::BadTraffic),
}

impl Failure {
    /// The word under which it is counted.
    pub(crate) fn kind(&self) -> String {
        let word = match self {
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Closed(_) => "closed",
            Self::Status(status, _) => return format!("status {}", status.as_u16()),
            Self::Body(_) => "body",
            Self::Unsent => "unsent",
            Self::Interrupted => "interrupted",
            Self::Request(_) => "request",
        };
        word.to_owned()
    }
}
