//! The ledger: a row for each request of a model, written in batches behind the requests' backs.
//!
//! A [`Bill`] goes with the request; dropped by the last who holds it, it puts a row into a bounded
//! queue, without waiting and without a system call. A [writer] on a thread of its own takes
//! rows out a few times a second, or sooner when the queue fills.

mod batch;
mod bill;
mod connection;
mod entry;
mod meters;
mod row;
mod spool;
mod writer;

use std::sync::Arc;

use crossbeam_channel::Sender;
use tokio::sync::Notify;

pub(crate) use self::bill::{Bill, Streaming};
use thermograph_common::nice;

use self::{batch::Batch, entry::Entry, meters::Meters, row::Row, spool::Spool, writer::Writer};
use super::{Home, StoreConfig, StoreError, url::Target};

/// The writer gives way to who answers requests: it has 200 ms, and they wait for none of it. A
/// core that others want all of still leaves it a quarter.
const NICE: u8 = 5;

/// Where rows are handed over; cheap to clone, all clones are one.
#[derive(Clone)]
pub(super) struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    rows: Sender<Row>,
    /// Rows in the queue at which the writer is woken.
    many: usize,
    wake: Arc<Notify>,
    home: Home,
}

impl Ledger {
    /// Starts the writer.
    pub(super) fn start(target: Target, config: &StoreConfig) -> Result<Self, StoreError> {
        let meters = Meters::new(config);
        let spool = Spool::open(config, meters.clone())?;
        let (rows, waiting) = crossbeam_channel::bounded(config.queue);
        let wake = Arc::new(Notify::new());
        let writer = Writer::new(target, config, waiting, Arc::clone(&wake), spool, meters);
        let write = |stop| {
            // SQLite's thread, which this one starts, is as nice.
            nice::lower(NICE);
            writer.run(stop)
        };
        let home = Home::start("ledger", write).map_err(StoreError::Thread)?;
        let many = config.batch.min(config.queue.div_ceil(2));
        let inner = Inner { rows, many, wake, home };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Hands a row over; where there is no room, it is counted and gone.
    fn put(&self, row: Row) {
        let Inner { rows, many, wake, .. } = &*self.inner;
        if rows.try_send(row).is_err() {
            Meters::dropped("queue", 1);
            wake.notify_one();
        } else if rows.len().is_multiple_of(*many) {
            // Not for each row: to wake a thread is a system call.
            wake.notify_one();
        }
    }

    /// Writes what is left, and ends the writer; blocks while it does.
    pub(super) fn stop(&self) {
        self.inner.home.stop();
    }
}
