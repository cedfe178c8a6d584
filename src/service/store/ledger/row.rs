//! A row: what one request was, and what it has used. Nothing that was said, and no secret.

use std::{sync::Arc, time::Instant};

use serde::{Serialize, Serializer};

use crate::service::{request_id::RequestId, store::Key, usage::Usage};

/// Longest name of a model that is kept: any name can be asked for.
const LONGEST: usize = 128;

/// What one request was, in the columns of the table.
#[derive(Serialize)]
pub(super) struct Row {
    #[serde(serialize_with = "text")]
    pub(super) id: uuid::fmt::Hyphenated,
    /// Milliseconds since 1970.
    pub(super) at: i64,
    #[serde(serialize_with = "key_id")]
    pub(super) key_id: Option<Arc<Key>>,
    pub(super) model: Box<str>,
    pub(super) endpoint: &'static str,
    pub(super) status: u16,
    #[serde(flatten)]
    pub(super) usage: Usage,
    pub(super) cached: bool,
    pub(super) streamed: bool,
    pub(super) duration_us: u64,
    #[serde(serialize_with = "upstream")]
    pub(super) upstream: Option<Arc<str>>,
    #[serde(serialize_with = "request_id")]
    pub(super) request_id: RequestId,
    #[serde(skip)]
    pub(super) ended: Instant,
}

/// A model's name as it is kept: whoever asks may call it anything.
pub(super) fn model(name: &str) -> Box<str> {
    let end = (0..=LONGEST.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    let name = &name[..end.unwrap_or(0)];
    if name.chars().any(char::is_control) {
        return name.replace(char::is_control, "\u{fffd}").into();
    }
    name.into()
}

fn text<S: Serializer>(id: &uuid::fmt::Hyphenated, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

#[expect(clippy::ref_option, reason = "as serde wants it")]
fn key_id<S: Serializer>(key: &Option<Arc<Key>>, serializer: S) -> Result<S::Ok, S::Error> {
    key.as_ref().map(|key| &key.info.id).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "as serde wants it")]
fn upstream<S: Serializer>(upstream: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    upstream.as_deref().serialize(serializer)
}

fn request_id<S: Serializer>(id: &RequestId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_as_far_as_it_is_one() {
        assert_eq!(&*model("gpt-4"), "gpt-4");
        assert_eq!(&*model("a\0b\nc"), "a\u{fffd}b\u{fffd}c");
        let long = format!("{}ä", "a".repeat(127));
        assert_eq!(&*model(&long), "a".repeat(127));
    }
}
