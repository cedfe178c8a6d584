//! Contents of answers, and fields that all have.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;

use super::{refusal::Refusal, script::Script};

/// Content of an answer.
#[derive(Debug)]
pub(super) enum Content {
    /// All at once: its media type and its bytes.
    Whole(&'static str, Bytes),
    /// Server-sent events.
    Stream(Script),
}

/// Fault in the middle of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The connection is closed.
    Cut,
    /// Nothing comes any more.
    Stall,
}

impl Content {
    /// A whole answer in JSON.
    pub(super) fn json(answer: &impl Serialize) -> Result<Self, Refusal> {
        let written = serde_json::to_vec(answer);
        written.map(Self::written).map_err(|error| Refusal::internal(error.to_string()))
    }

    /// A whole answer that is JSON already.
    pub(super) fn written(json: impl Into<Bytes>) -> Self {
        Self::Whole("application/json", json.into())
    }
}

/// The fields that an answer has and every event of a stream: its id, what it is, when it was made
/// and the model, in JSON.
pub(super) fn head(prefix: &str, object: &str, model: &str) -> String {
    let id = id();
    let created = now();
    let model = quoted(model);
    format!(r#""id":"{prefix}-{id}","object":"{object}","created":{created},"model":{model}"#)
}

/// 24 letters and digits that no other answer has.
pub(super) fn id() -> String {
    format!("{:016x}{:08x}", fastrand::u64(..), fastrand::u32(..))
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_secs()
}

/// A text in JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `OpenAI`'s usage, in JSON.
pub(super) fn usage(prompt: usize, completion: usize) -> String {
    let total = prompt + completion;
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}}}"#
    )
}
