//! The metrics of the ledger.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::store::StoreConfig;

const DROPPED: &str = "thermograph_ledger_dropped_total";
/// Why rows are dropped.
const REASONS: [&str; 4] = ["queue", "refused", "spool_failed", "spool_full"];

/// Metrics of the ledger.
#[derive(Clone)]
pub(super) struct Meters {
    pub(super) rows: Counter,
    pub(super) late: Counter,
    pub(super) spooled: Counter,
    pub(super) torn: Counter,
    pub(super) queue: Gauge,
    pub(super) spool: Gauge,
}

impl Meters {
    pub(super) fn new(config: &StoreConfig) -> Self {
        let counters = [
            ("thermograph_ledger_rows_total", "Rows written to the database."),
            ("thermograph_ledger_late_total", "Of these, rows written later than they should be."),
            ("thermograph_ledger_spooled_total", "Rows that wait in the spool, or did."),
            ("thermograph_ledger_torn_total", "Records of the spool that were half written."),
            (DROPPED, "Rows that are lost, by why."),
        ];
        for (name, help) in counters {
            describe_counter!(name, Unit::Count, help);
        }
        let gauges = [
            ("thermograph_ledger_queue", Unit::Count, "Rows that wait in memory."),
            ("thermograph_ledger_queue_limit", Unit::Count, "Most rows that wait in memory."),
            ("thermograph_ledger_spool_bytes", Unit::Bytes, "Bytes of rows in the spool."),
            ("thermograph_ledger_spool_limit_bytes", Unit::Bytes, "Most bytes in the spool."),
        ];
        for (name, unit, help) in gauges {
            describe_gauge!(name, unit, help);
        }
        gauge!("thermograph_ledger_queue_limit").set(config.queue as f64);
        gauge!("thermograph_ledger_spool_limit_bytes").set(config.spool_limit.as_u64() as f64);
        for reason in REASONS {
            // Shown before there are any.
            counter!(DROPPED, "reason" => reason).increment(0);
        }
        Self {
            rows: counter!("thermograph_ledger_rows_total"),
            late: counter!("thermograph_ledger_late_total"),
            spooled: counter!("thermograph_ledger_spooled_total"),
            torn: counter!("thermograph_ledger_torn_total"),
            queue: gauge!("thermograph_ledger_queue"),
            spool: gauge!("thermograph_ledger_spool_bytes"),
        }
    }

    /// Counts rows that are lost.
    pub(super) fn dropped(reason: &'static str, rows: u64) {
        counter!(DROPPED, "reason" => reason).increment(rows);
    }
}
