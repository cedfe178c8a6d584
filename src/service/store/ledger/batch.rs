//! Rows that are written together.

use std::time::Instant;

use super::Row;

/// Rows that are written together: one or more.
pub(super) struct Batch {
    pub(super) rows: Vec<Row>,
    /// When the first of their requests ended.
    pub(super) oldest: Instant,
}

impl Batch {
    pub(super) fn of(first: Row, others: impl Iterator<Item = Row>) -> Self {
        let oldest = first.ended;
        let rows: Vec<_> = std::iter::once(first).chain(others).collect();
        let oldest = rows.iter().map(|row| row.ended).fold(oldest, Instant::min);
        Self { rows, oldest }
    }

    pub(super) fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// A list of objects in JSON.
    pub(super) fn json(&self) -> String {
        // Structs of strings and numbers serialize.
        serde_json::to_string(&self.rows).unwrap_or_default()
    }
}
