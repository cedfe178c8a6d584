//! The name of a model as an upstream knows it.

use bytes::Bytes;
use serde_json::Value;

/// A name, in the forms in which requests hold it; cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::upstream) struct Name {
    text: Bytes,
    json: Bytes,
}

impl Name {
    pub(in crate::upstream) fn new(name: &str) -> Self {
        let json = Value::from(name).to_string().into();
        Self { text: Bytes::copy_from_slice(name.as_bytes()), json }
    }

    /// The name alone.
    pub(super) fn text(&self) -> &Bytes {
        &self.text
    }

    /// The name as a string of JSON, with its quotes.
    pub(super) fn json(&self) -> &Bytes {
        &self.json
    }
}
