//! A request that is on its way: since when, and what it holds until its answer is over.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::Instant;

use super::entrance::Admitted;

/// Kept by the answer's body: dropped, the request is over, however it ended.
pub(crate) struct Call {
    started: Instant,
    _admitted: Admitted,
}

/// The body of an answer that is there whole.
pub(crate) struct Held {
    whole: Full<Bytes>,
    _call: Call,
}

impl Call {
    pub(crate) fn new(started: Instant, admitted: Admitted) -> Self {
        Self { started, _admitted: admitted }
    }

    /// When its head was there.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// A body that is there, and keeps this until it is over.
    pub(crate) fn hold(self, whole: Bytes) -> Held {
        Held { whole: Full::new(whole), _call: self }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.whole).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.whole.size_hint()
    }
}
