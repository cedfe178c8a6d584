//! The Tower layer that writes down what each handler costs.
//!
//! The layer wraps the handler's future and its response body, and around every poll of either
//! takes the time. On the way of a request it takes no lock and makes no system call; the first
//! request of a handler allocates its row.

mod body;
mod future;
mod layer;
#[cfg(tokio_unstable)]
mod mark;
#[cfg(not(tokio_unstable))]
#[path = "watch/no_mark.rs"]
mod mark;
mod request;
mod row;

pub use future::WatchFuture;
pub use layer::{Watch, WatchLayer};
pub(crate) use mark::Mark;
pub(crate) use row::Row;

/// Polls a watched future; while somebody asks where tasks wait, so that it is seen where it waits.
#[cfg(all(sampler, tokio_unstable))]
#[inline]
pub(crate) fn traced<T>(
    cx: &mut std::task::Context<'_>,
    poll: impl FnOnce(&mut std::task::Context<'_>) -> std::task::Poll<T>,
) -> std::task::Poll<T> {
    thermograph_sampler::traced(cx, poll, |place| crate::task_table::TASKS.line(place).goes_on())
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
