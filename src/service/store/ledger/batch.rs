//! Rows that are written together.

use std::time::Instant;

use super::Row;

/// Most rows of a record of the spool: those of a record find room together, or none does.
const RECORD: usize = 500;

/// Rows that are written together: one or more.
pub(super) struct Batch {
    pub(super) rows: Vec<Row>,
    /// When the first of their requests ended.
    pub(super) oldest: Instant,
}

impl Batch {
    /// None of no rows.
    pub(super) fn of(rows: Vec<Row>) -> Option<Self> {
        let oldest = rows.iter().map(|row| row.ended).min()?;
        Some(Self { rows, oldest })
    }

    pub(super) fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// A list of objects in JSON.
    pub(super) fn json(&self) -> String {
        json(&self.rows)
    }

    /// The same in records of the spool, each with how many rows it has.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, String)> {
        self.rows.chunks(RECORD).map(|rows| (rows.len() as u64, json(rows)))
    }
}

fn json(rows: &[Row]) -> String {
    // Structs of strings and numbers serialize.
    serde_json::to_string(rows).unwrap_or_default()
}
