//! What each handler has cost: the ledger, and what is published of a poll while it lasts.
//!
//! Threads count where nobody else writes; readers add up. What the watchdog finds out about a handler
//! stands beside its counters.

mod budget;
mod counters;
mod delays;
mod estimate;
mod handler;
mod in_place;
mod ledger;
mod numbers;
mod overrun;
mod poll;
mod polling;
mod registry;
pub(crate) mod route;
mod shard;
mod snapshot;
pub(crate) mod table;
mod timings;
pub(crate) mod track;
mod trouble;
pub(crate) mod waits;

pub(crate) use budget::{Attached, Budget};
pub(crate) use estimate::Learnt;
#[cfg(any(tokio_unstable, sampler))]
pub(crate) use handler::TASK;
pub(crate) use handler::{ByPlace, Handler, UNMATCHED};
pub(crate) use ledger::Hint;
pub use ledger::Ledger;
pub(crate) use overrun::{Ended, Overruns, PollId};
pub(crate) use poll::{End, Poll};
pub(crate) use polling::Polling;
pub(crate) use route::name;
pub(crate) use shard::{Parts, Shard};
pub(crate) use snapshot::millis;
pub use snapshot::{
    Arrival, DelayRow, HandlerRow, LatencyParts, LedgerReport, Quantiles, Snapshot,
};
pub use trouble::{Holding, StallCounts, Wait};
pub(crate) use trouble::{LastingStall, Progress, Trouble, nanoseconds};
pub(crate) use waits::Waited;
#[cfg(tokio_unstable)]
pub(crate) use waits::{Waits, clear_ready, set_ready};
