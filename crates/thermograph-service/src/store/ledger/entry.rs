//! Entries: rows as the database and the spool have them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::fmt::Hyphenated;

use super::Row;
use crate::store::table::table_row;

table_row! {
    /// A row of the table `ledger`; in JSON, an object with its columns.
    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    pub(super) struct Entry of "ledger" {
        id: Arc<str>,
        at: i64,
        key_id: Option<Arc<str>>,
        model: Arc<str>,
        endpoint: Arc<str>,
        status: i32,
        prompt_tokens: i64,
        completion_tokens: i64,
        cached: bool,
        streamed: bool,
        duration_us: i64,
        upstream: Option<Arc<str>>,
        request_id: Arc<str>,
        // Entries of a spool may be older than the columns below.
        #[serde(default)]
        cached_prompt_tokens: i64,
        #[serde(default)]
        estimated: bool,
    }
}

/// Makes entries of rows. Texts of the row before are kept: one after the other mostly says the same,
/// and holds the same text then.
#[derive(Default)]
pub(super) struct Entries {
    key_id: Option<Arc<str>>,
    model: Option<Arc<str>>,
    endpoint: Option<Arc<str>>,
}

impl Entries {
    /// The entry of the next row.
    pub(super) fn of(&mut self, row: &Row) -> Entry {
        let key_id = row.key_id.as_ref().map(|key| shared(&mut self.key_id, &key.info.id));
        Entry {
            id: (&*row.id.encode_lower(&mut [0; Hyphenated::LENGTH])).into(),
            at: row.at,
            key_id,
            model: shared(&mut self.model, &row.model),
            endpoint: shared(&mut self.endpoint, row.endpoint),
            status: row.status.into(),
            prompt_tokens: number(row.usage.prompt_tokens),
            completion_tokens: number(row.usage.completion_tokens),
            cached: row.cached,
            streamed: row.streamed,
            duration_us: number(row.duration_us),
            upstream: row.upstream.clone(),
            request_id: row.request_id.as_str().into(),
            cached_prompt_tokens: number(row.usage.cached_prompt_tokens),
            estimated: row.usage.is_estimated,
        }
    }
}

/// A number as databases have room for it.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// This text: the one before, where that is the same.
fn shared(before: &mut Option<Arc<str>>, text: &str) -> Arc<str> {
    match before {
        Some(before) if **before == *text => Arc::clone(before),
        other => Arc::clone(other.insert(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_earlier_versions_are_read() {
        let json = r#"{"id":"01234567-89ab-7def-8123-456789abcdef","at":1700000000000,"key_id":null,
            "model":"m","endpoint":"/v1/chat/completions","status":200,"prompt_tokens":1,
            "completion_tokens":2,"cached":false,"streamed":true,"duration_us":3,"upstream":"a",
            "request_id":"r"}"#;
        let first: Entry = serde_json::from_str(json).expect("an entry");
        assert_eq!((first.cached_prompt_tokens, first.estimated), (0, false));
        assert_eq!((first.key_id, first.upstream.as_deref()), (None, Some("a")));

        // As a later version has it, too: with a column that this one does not know.
        let json = json.replace('}', r#","cached_prompt_tokens":4,"estimated":true,"new":{}}"#);
        let second: Entry = serde_json::from_str(&json).expect("an entry");
        assert_eq!((second.cached_prompt_tokens, second.estimated), (4, true));
        let written = serde_json::to_string(&second).expect("JSON");
        assert_eq!(serde_json::from_str::<Entry>(&written).expect("an entry"), second);
    }
}
