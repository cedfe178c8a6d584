//! What is embedded.

use serde::Serialize;

/// One input of a request, to be embedded as one vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Input {
    /// Text, to be tokenized.
    Text(String),
    /// Token ids of the model's own tokenizer, with or without the special ones around them.
    Tokens(Vec<u32>),
}

impl Input {
    /// Length of the input: bytes of a text, or count of token ids.
    pub fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Tokens(ids) => ids.len(),
        }
    }

    /// Returns whether the input has no text and no token ids.
    pub fn is_empty(&self) -> bool {
        self.length() == 0
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
