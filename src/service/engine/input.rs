//! What is embedded.

/// One input.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Text, to be tokenized.
    Text(String),
    /// Token ids of the model's own vocabulary, without the special ones.
    Tokens(Vec<u32>),
}

impl Input {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Tokens(ids) => ids.is_empty(),
        }
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
