//! A request that is on its way: since when, and what it holds until its answer is over.

use tokio::time::Instant;

use super::entrance::Admitted;

/// Kept by the answer's body: dropped, the request is over, however it ended.
pub(crate) struct Call {
    started: Instant,
    _admitted: Admitted,
}

impl Call {
    pub(crate) fn new(started: Instant, admitted: Admitted) -> Self {
        Self { started, _admitted: admitted }
    }

    /// When its head was there.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }
}
