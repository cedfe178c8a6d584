//! Stalls: polls that keep a worker of the runtime to themselves for longer than the threshold.
//!
//! A watchdog looks at what every thread polls. When a poll has lasted too
//! long it takes the thread's stack once, asks the kernel what the thread does, and makes a
//! [`Stall`] of it while it lasts; the thread itself tells the final length when the poll ends. So
//! none is missed, however late the watchdog is scheduled.
//!
//! The [`Class`] says whose fault it is. It does not say that a handler is slow: one that awaits
//! gives its worker back, however long it takes. Of `tokio::task::block_in_place`, which hands the
//! worker's other tasks on, it does not know: a poll that is long inside of it counts as a stall.

mod bounds;
mod guard;
mod harm;
mod histogram;
mod namer;
mod record;
mod store;
mod verdict;
mod warning;
mod watchdog;

pub(crate) use self::{
    bounds::THRESHOLD,
    histogram::Durations,
    namer::name,
    record::Record,
    store::{NoStack, Store, Sums, Totals},
    watchdog::Watch,
};
pub use self::{
    guard::NoStall,
    record::{Class, Stall, StallFrame},
};
