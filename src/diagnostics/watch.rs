//! What each handler costs: a Tower layer, and the ledger it writes to.
//!
//! The layer wraps the handler's future and its response body, and around every poll of either
//! takes the time. On the way of a request it takes no lock and makes no system call; the first
//! request of a handler allocates its row.

mod body;
mod clock;
mod future;
mod handler;
mod layer;
mod ledger;
mod poll;
mod request;
mod shard;
mod slot;
mod snapshot;
pub(crate) mod table;
mod timings;

pub use future::WatchFuture;
pub use layer::{Watch, WatchLayer};
pub use ledger::Ledger;
pub use snapshot::{HandlerRow, LedgerReport, Quantiles, Snapshot};
