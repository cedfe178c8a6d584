//! A request that is on its way: since when, and what it holds until its answer is over.

use tokio::time::Instant;

use super::{caller::Caller, entrance::Admitted, store::Bill};

/// Kept by the answer's body: dropped, the request is over, however it ended.
pub(crate) struct Call {
    started: Instant,
    caller: Caller,
    bill: Bill,
    _admitted: Admitted,
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
}
