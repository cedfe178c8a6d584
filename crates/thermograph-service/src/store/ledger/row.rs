//! A row: what one request was, and what it has used. Nothing that was said, and no secret.

use std::{sync::Arc, time::Instant};

use crate::{request_id::RequestId, store::Key, usage::Usage};

/// Longest name of a model that is kept: any name can be asked for.
const LONGEST: usize = 128;

/// What one request was, with what is shared with it still; see [`Entry`](super::Entry).
pub(super) struct Row {
    pub(super) id: uuid::fmt::Hyphenated,
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) key_id: Option<Arc<Key>>,
    pub(super) model: Box<str>,
    pub(super) endpoint: &'static str,
    pub(super) status: u16,
    pub(super) usage: Usage,
    pub(super) cached: bool,
    pub(super) streamed: bool,
    pub(super) duration_us: u64,
    pub(super) upstream: Option<Arc<str>>,
    pub(super) request_id: RequestId,
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
