//! What an upstream answered.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::{Upstream, connections::Received, one::Busy};
use crate::usage::Tally;

/// An answer whose first byte is there.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Those that are passed back.
    pub(crate) headers: HeaderMap,
    pub(crate) content: Answered,
    pub(crate) upstream: Arc<Upstream>,
    /// Has counted an answer that is there whole.
    pub(super) tally: Tally,
    /// True if it was asked for the usage of a stream and the client was not to know.
    pub(super) hides_usage: bool,
    /// Time that the upstream had the request, until this.
    pub(super) upstream_time: Duration,
}

/// The content of an answer.
pub(crate) enum Answered {
    /// All of it.
    Whole(Bytes),
    /// Its beginning, and what is still to come.
    Begun {
        first: Bytes,
        rest: Received,
        /// When the first byte must be there, if it is not yet.
        first_by: Option<Instant>,
        /// Whether it is a stream of events that can be told apart.
        is_events: bool,
        busy: Busy,
    },
}
