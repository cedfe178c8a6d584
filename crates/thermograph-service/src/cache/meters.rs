//! The metrics of what is kept.

use metrics::{Counter, Gauge, Unit};

/// Metrics of one kind of what is kept.
pub(super) struct Meters {
    pub(super) memory: Counter,
    pub(super) redis: Counter,
    pub(super) coalesced: Counter,
    pub(super) missed: Counter,
    pub(super) too_large: Counter,
    pub(super) corrupt: Counter,
    pub(super) not_written: Counter,
    pub(super) bytes: Gauge,
    pub(super) entries: Gauge,
}

impl Meters {
    pub(super) fn new(kind: &'static str) -> Self {
        use metrics::{counter, describe_counter, describe_gauge, gauge};
        let lookups = "thermograph_cache_lookups_total";
        describe_counter!(lookups, Unit::Count, "Questions to the cache, by who had the answer.");
        let dropped = "thermograph_cache_not_kept_total";
        describe_counter!(dropped, Unit::Count, "Answers that were not kept, by why.");
        let bytes = "thermograph_cache_bytes";
        describe_gauge!(bytes, Unit::Bytes, "Memory that answers take which are kept.");
        let entries = "thermograph_cache_entries";
        describe_gauge!(entries, Unit::Count, "Answers that are kept in memory.");
        let lookup = |result: &'static str| counter!(lookups, "kind" => kind, "result" => result);
        let not_kept = |reason: &'static str| counter!(dropped, "kind" => kind, "reason" => reason);
        Self {
            memory: lookup("memory"),
            redis: lookup("redis"),
            coalesced: lookup("coalesced"),
            missed: lookup("miss"),
            too_large: not_kept("too_large"),
            corrupt: not_kept("corrupt"),
            not_written: not_kept("redis_gone"),
            bytes: gauge!(bytes, "kind" => kind),
            entries: gauge!(entries, "kind" => kind),
        }
    }
}
