//! What each handler costs: a Tower layer, and the ledger it writes to.
//!
//! The layer wraps the handler's future and its response body, and around every poll of either
//! takes the time. On the way of a request it takes no lock and makes no system call; the first
//! request of a handler allocates its row.

mod body;
mod budget;
mod counters;
mod delays;
mod estimate;
mod future;
mod handler;
mod in_place;
mod layer;
mod ledger;
#[cfg(tokio_unstable)]
mod mark;
#[cfg(not(tokio_unstable))]
#[path = "watch/no_mark.rs"]
mod mark;
mod numbers;
mod overrun;
mod poll;
mod polling;
mod registry;
mod request;
mod route;
mod row;
mod shard;
mod snapshot;
pub(crate) mod table;
mod timings;
pub(crate) mod track;
mod trouble;
mod waits;

pub(crate) use budget::{Attached, Budget};
pub(crate) use estimate::Learnt;
pub use future::WatchFuture;
#[cfg(any(tokio_unstable, sampler))]
pub(crate) use handler::TASK;
pub(crate) use handler::{ByPlace, Handler, UNMATCHED};
pub use layer::{Watch, WatchLayer};
pub use ledger::Ledger;
pub(crate) use mark::Mark;
pub(crate) use overrun::{Ended, Overruns, PollId};
pub(crate) use poll::Poll;
pub(crate) use polling::Polling;
pub(crate) use route::name;
pub(crate) use row::Row;
#[cfg(test)]
pub(crate) use shard::Parts;
pub(crate) use snapshot::millis;
pub use snapshot::{
    Arrival, DelayRow, HandlerRow, LatencyParts, LedgerReport, Quantiles, Snapshot,
};
pub use trouble::{Holding, StallCounts, Wait};
pub(crate) use trouble::{Trouble, nanoseconds};
pub(crate) use waits::Waited;
#[cfg(tokio_unstable)]
pub(crate) use waits::{Waits, clear_ready, set_ready};

/// Polls a watched future; while somebody asks where tasks wait, so that it is seen where it waits.
#[cfg(all(sampler, tokio_unstable))]
#[inline]
pub(crate) fn traced<T>(
    cx: &mut std::task::Context<'_>,
    poll: impl FnOnce(&mut std::task::Context<'_>) -> std::task::Poll<T>,
) -> std::task::Poll<T> {
    thermograph_sampler::traced(cx, poll, |place| crate::tasks::table::TASKS.line(place).goes_on())
}

/// Polls a watched future: where tasks are not listed, nobody asks where they wait.
#[cfg(not(all(sampler, tokio_unstable)))]
#[inline]
pub(crate) fn traced<T>(
    cx: &mut std::task::Context<'_>,
    poll: impl FnOnce(&mut std::task::Context<'_>) -> std::task::Poll<T>,
) -> std::task::Poll<T> {
    poll(cx)
}
