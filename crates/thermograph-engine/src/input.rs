//! What is embedded.

use serde::Serialize;

/// One input.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Input {
    /// Text, to be tokenized.
    Text(String),
    /// Token ids of the model's own tokenizer, with or without the special ones around them.
    Tokens(Vec<u32>),
}

impl Input {
    /// Bytes of its text, or its tokens.
    pub fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Tokens(ids) => ids.len(),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.length() == 0
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
