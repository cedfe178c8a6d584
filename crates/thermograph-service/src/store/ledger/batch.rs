//! Entries that are written together.

use std::time::Instant;

use super::{Entry, Row, entry::Entries};

/// Most entries of a record of the spool: those of a record find room together, or none does.
const RECORD: usize = 500;

/// Entries that are written together: one or more.
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// When the first of their requests ended.
    pub(super) oldest: Instant,
}

impl Batch {
    /// None of no rows.
    pub(super) fn of(rows: impl IntoIterator<Item = Row>) -> Option<Self> {
        let mut rows = rows.into_iter().peekable();
        let mut oldest = rows.peek()?.ended;
        let mut entries = Entries::default();
        let entry = |row: Row| {
            oldest = oldest.min(row.ended);
            entries.of(&row)
        };
        let entries = rows.map(entry).collect();
        Some(Self { entries, oldest })
    }

    pub(super) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Records of the spool: lists of objects in JSON, each with how many entries it has.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, String)> {
        self.entries.chunks(RECORD).map(|entries| (entries.len() as u64, json(entries)))
    }
}

/// A list of objects in JSON.
pub(super) fn json(entries: &[Entry]) -> String {
    // Structs of strings and numbers serialize.
    serde_json::to_string(entries).unwrap_or_default()
}
