//! A request as its client wrote it, and the little of it that must be known to pass it on.

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::service::error::ApiError;

/// The bytes of a request, and what was read in them.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    bytes: Bytes,
    /// Where the name of the model stands, quotes included.
    name: Range<usize>,
    model: String,
    store: bool,
    /// Tokens that it may use, as far as that can be told beforehand.
    tokens: u64,
    /// Where the prompt, the messages or the inputs stand.
    prompt: Range<usize>,
}

/// What is read; the rest is the upstream's.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(default)]
    store: Option<bool>,
    #[serde(borrow, default)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    n: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    query: Option<&'a RawValue>,
}

impl Document {
    /// Reads what must be known; the time is that of reading over all of it once.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, ApiError> {
        let glance: Glance<'_> = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::bad_request(None, format!("the body is not a request in JSON: {error}"))
        })?;
        let name = glance.model.ok_or_else(|| {
            ApiError::bad_request(Some("model"), "model: missing: name one of GET /v1/models")
        })?;
        let model: Cow<'_, str> = serde_json::from_str(name.get()).map_err(|_| {
            ApiError::bad_request(
                Some("model"),
                "model: is not a string: name one of GET /v1/models",
            )
        })?;
        let Glance { messages, prompt, input, query, .. } = glance;
        let prompt = messages.or(prompt).or(input).or(query);
        let number = |value: Option<&RawValue>| value?.get().parse::<u64>().ok();
        let answer = number(glance.max_completion_tokens).or(number(glance.max_tokens));
        let answers = number(glance.n).unwrap_or(1).saturating_mul(answer.unwrap_or_default());
        let asked = prompt.map_or(0, |prompt| tokens(prompt.get().as_bytes()));
        let document = Self {
            tokens: asked.saturating_add(answers),
            name: place(&bytes, name),
            model: model.into_owned(),
            store: glance.store.unwrap_or_default(),
            prompt: prompt.map_or(0..0, |prompt| place(&bytes, prompt)),
            bytes: Bytes::new(),
        };
        Ok(Self { bytes, ..document })
    }

    /// The model that the client named.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// As the client wrote it.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Tokens that it may use: of the prompt a quarter of its bytes, as English has it, and as many
    /// as it allows for the answer.
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Whether sending it twice would leave something behind twice.
    pub(crate) fn is_stored(&self) -> bool {
        self.store
    }

    /// The first `most` bytes of the prompt.
    pub(super) fn prefix(&self, most: usize) -> &[u8] {
        let prompt = &self.bytes[self.prompt.clone()];
        &prompt[..prompt.len().min(most)]
    }

    /// Its bytes, the model's name replaced by `name`, which is JSON: quotes and all.
    pub(super) fn pieces(&self, name: Option<&Bytes>) -> [Bytes; 3] {
        match name {
            None => [self.bytes.clone(), Bytes::new(), Bytes::new()],
            Some(name) => [
                self.bytes.slice(..self.name.start),
                name.clone(),
                self.bytes.slice(self.name.end..),
            ],
        }
    }
}

/// Tokens of a prompt, pictures and sounds in it left out.
fn tokens(prompt: &[u8]) -> u64 {
    // To make one takes longer than to look over a short prompt.
    static DATA: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b";base64,"));
    let data = DATA.find_iter(prompt);
    let length = |at: usize| memchr::memchr(b'"', &prompt[at..]).unwrap_or_default();
    let left_out: usize = data.map(length).sum();
    (prompt.len().saturating_sub(left_out) as u64).div_ceil(4)
}

/// Where a value that was borrowed from `bytes` stands in them.
fn place(bytes: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - bytes.as_ptr().addr();
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Document {
        Document::read(Bytes::from_static(text.as_bytes())).expect("a request")
    }

    fn renamed(text: &'static str, name: &'static str) -> String {
        let pieces = read(text).pieces(Some(&Bytes::from_static(name.as_bytes())));
        String::from_utf8(pieces.concat()).expect("text")
    }

    #[test]
    fn nothing_but_the_name_is_replaced() {
        let text = r#"{ "x": [1.0, 1e3],"model" : "a\u0041" ,"messages":[{"model":"no"}] }"#;
        assert_eq!(read(text).model(), "aA");
        assert_eq!(read(text).pieces(None).concat(), text.as_bytes());
        let expected = r#"{ "x": [1.0, 1e3],"model" : "b" ,"messages":[{"model":"no"}] }"#;
        assert_eq!(renamed(text, r#""b""#), expected);
    }

    #[test]
    fn what_decides_is_read() {
        let text = r#"{"model":"m","store":true,"messages":[1,2,3]}"#;
        let document = read(text);
        assert!(document.is_stored());
        assert_eq!(document.prefix(4), b"[1,2");
        assert_eq!(document.prefix(100), b"[1,2,3]");
        let document = read(r#"{"model":"m","store":null}"#);
        assert!(!document.is_stored());
        assert_eq!(document.prefix(9), b"");
    }

    #[test]
    fn tokens_are_guessed() {
        let tokens = |text| read(text).tokens();
        assert_eq!(tokens(r#"{"model":"m","prompt":"12345678"}"#), 3);
        assert_eq!(tokens(r#"{"model":"m","prompt":"12","max_tokens":7,"n":2}"#), 15);
        assert_eq!(tokens(r#"{"model":"m","max_completion_tokens":7,"max_tokens":9}"#), 7);
        assert_eq!(tokens(r#"{"model":"m","max_tokens":"lots"}"#), 0);
        let picture = r#"{"model":"m","prompt":"data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="}"#;
        assert_eq!(tokens(picture), 4);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let texts = [
            "",
            "[]",
            "{",
            "{}",
            r#"{"model":1}"#,
            r#"{"model":"a"} x"#,
            r#"{"model":"a","store":"yes"}"#,
            // Which of two names would count, is not ours to guess.
            r#"{"model":"a","model":"b"}"#,
        ];
        for text in texts {
            assert!(Document::read(Bytes::from_static(text.as_bytes())).is_err(), "{text}");
        }
    }
}
