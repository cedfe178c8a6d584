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

use super::{caller::Caller, entrance::Admitted, store::Bill};

/// Kept by the answer's body: dropped, the request is over, however it ended.
pub(crate) struct Call {
    started: Instant,
    caller: Caller,
    bill: Bill,
    _admitted: Admitted,
}

/// The body of an answer that is there whole.
pub(crate) struct Held {
    whole: Full<Bytes>,
    _call: Call,
}

impl Call {
    pub(crate) fn new(started: Instant, admitted: Admitted) -> Self {
        let (caller, bill) = (Caller::default(), Bill::default());
        Self { started, caller, bill, _admitted: admitted }
    }

    /// The same of this caller, with what goes to the ledger.
    pub(crate) fn of(self, caller: &Caller, bill: &Bill) -> Self {
        Self { caller: caller.clone(), bill: bill.clone(), ..self }
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What goes to the ledger.
    pub(crate) fn bill(&self) -> &Bill {
        &self.bill
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
