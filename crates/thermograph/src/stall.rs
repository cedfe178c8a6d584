//! Stalls: polls that keep a worker of the runtime to themselves for longer than the threshold.
//!
//! A watchdog looks at what every thread polls. When a poll has lasted too
//! long it takes the thread's stack once, asks the kernel what the thread does, and makes a
//! [`Stall`] of it while it lasts; the thread itself tells the final length when the poll ends. So
//! none is missed, however late the watchdog is scheduled.
//!
//! The [`Class`] says whose fault it is. It does not say that a handler is slow: one that awaits
//! gives its worker back, however long it takes. A poll that is long inside of
//! `tokio::task::block_in_place` is a stall too, and is marked: its worker was handed to another
//! thread, as long as the pool of blocking threads had one left.

mod harm;
mod histogram;
mod in_place;
pub(crate) mod lock;
mod namer;
mod record;
mod store;
mod verdict;
mod warning;
mod watchdog;

#[cfg(test)]
pub(crate) use self::record::Facts;
pub(crate) use self::{
    histogram::Durations,
    in_place::is_in_place,
    namer::name,
    record::Record,
    store::{Store, Sums, Totals},
    watchdog::Watch,
};
pub use self::{
    lock::{LockHolder, StallLock},
    record::{Stall, StallFrame},
};
pub use crate::class::{Class, NoStack};
