//! One row of the ledger.

use std::sync::OnceLock;

use http::Method;

use super::{
    shard::Shard,
    slot::{SLOTS, Slot},
};

/// A handler, and what each thread has counted for it.
pub(crate) struct Handler {
    pub(crate) method: Method,
    pub(crate) route: Box<str>,
    /// By slot; made when the thread first polls the handler, some 14 KiB each.
    shards: [OnceLock<Box<Shard>>; SLOTS],
}

impl Handler {
    pub(crate) fn new(method: Method, route: &str) -> Self {
        Self { method, route: route.into(), shards: [const { OnceLock::new() }; SLOTS] }
    }

    #[inline]
    pub(crate) fn is(&self, method: &Method, route: &str) -> bool {
        self.method == *method && *self.route == *route
    }

    /// Where this thread counts.
    #[inline]
    pub(crate) fn shard(&self) -> &Shard {
        let slot = Slot::current();
        self.shards[slot.index()].get_or_init(|| Box::new(Shard::new(slot)))
    }

    /// What every thread has counted.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter_map(|shard| shard.get().map(Box::as_ref))
    }
}
