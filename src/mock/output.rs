//! Text of an answer, in tokens.

use std::{borrow::Cow, sync::Arc};

use super::{content::quoted, size::Tokens, words};

/// Text of an answer, in tokens; cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Output {
    /// Words, a token each, and the text that they make.
    Words { tokens: usize, text: Arc<str> },
    /// JSON in tokens of about four bytes.
    Json(Arc<[String]>),
}

impl Output {
    pub(super) fn words(tokens: usize) -> Self {
        Self::Words { tokens, text: words::text(tokens).into() }
    }

    /// A JSON document, split where tokens end.
    pub(super) fn json(document: &str) -> Self {
        let mut rest = document;
        let mut pieces = Vec::with_capacity(Tokens::of(document));
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.ceil_char_boundary(Tokens::BYTES));
            pieces.push(piece.to_owned());
            rest = after;
        }
        Self::Json(pieces.into())
    }

    pub(super) fn tokens(&self) -> usize {
        match self {
            Self::Words { tokens, .. } => *tokens,
            Self::Json(pieces) => pieces.len(),
        }
    }

    /// The token at a place.
    pub(super) fn token(&self, index: usize) -> &str {
        match self {
            Self::Words { .. } => words::word(index),
            Self::Json(pieces) => &pieces[index],
        }
    }

    /// The token at a place, escaped for a string in JSON.
    pub(super) fn escaped(&self, index: usize) -> Cow<'_, str> {
        match self {
            Self::Words { .. } => words::word(index).into(),
            Self::Json(pieces) => escaped(&pieces[index]).into(),
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Words { text, .. } => (&**text).into(),
            Self::Json(pieces) => pieces.concat().into(),
        }
    }

    /// The whole text, escaped for a string in JSON.
    pub(super) fn escaped_text(&self) -> Cow<'_, str> {
        match self {
            Self::Words { text, .. } => (&**text).into(),
            Self::Json(pieces) => escaped(&pieces.concat()).into(),
        }
    }
}

/// A text as it stands between the quotes of a string in JSON.
fn escaped(text: &str) -> String {
    let quoted = quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_make_the_text() {
        for output in [Output::words(20), Output::json(r#"{"größe":"東京 \"x\"","n":12}"#)] {
            let tokens: String = (0..output.tokens()).map(|index| output.token(index)).collect();
            assert_eq!(tokens, output.text());
            let escaped: String =
                (0..output.tokens()).map(|index| output.escaped(index).into_owned()).collect();
            assert_eq!(escaped, output.escaped_text());
            let read: String = serde_json::from_str(&format!("\"{escaped}\"")).expect("a string");
            assert_eq!(read, output.text());
        }
    }
}
