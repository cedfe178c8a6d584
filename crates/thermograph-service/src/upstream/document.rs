//! A request as its client wrote it, and the little of it that must be known to pass it on.

mod form;
mod name;
mod numbers;

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use bytes::Bytes;
use http::HeaderValue;
use memchr::memmem;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, value::RawValue};

pub(crate) use self::form::FormType;
pub(super) use self::name::Name;
use super::Endpoint;
use crate::{error::ApiError, usage::tokens_of};

/// The bytes of a request, and what was read in them.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    bytes: Bytes,
    /// Content type of a form, with its boundary; `None` for JSON.
    form: Option<HeaderValue>,
    /// Place of the model's name, in JSON with its quotes; `None` if the client names no model.
    name: Option<Range<usize>>,
    model: String,
    store: bool,
    is_stream: bool,
    /// Place of `stream_options`.
    stream_options: Option<Range<usize>>,
    /// Tokens of the prompt, and of the answer as far as it is bounded.
    prompt_tokens: u64,
    answer_tokens: u64,
    /// Place of the prompt, the messages or the inputs.
    prompt: Range<usize>,
}

/// A part of a request that an upstream is to have otherwise: where it stands, and its replacement.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    at: Range<usize>,
    text: Bytes,
}

/// The bytes of a request with at most two edits.
pub(super) type Pieces = [Bytes; 5];

/// Fields that are read; the others are passed on unread.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    #[serde(default)]
    store: Option<bool>,
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    n: Option<&'a RawValue>,
    #[serde(borrow, default)]
    best_of: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    query: Option<&'a RawValue>,
    #[serde(borrow, default)]
    documents: Option<&'a RawValue>,
}

impl Document {
    /// Reads a request in JSON; the time is that of reading over all of it once.
    pub(crate) fn read(endpoint: Endpoint, bytes: Bytes) -> Result<Self, ApiError> {
        let glance: Glance<'_> = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::bad_request(None, format!("the body is not a request in JSON: {error}"))
        })?;
        let name = glance.model.filter(|name| name.get() != "null");
        let model: Cow<'_, str> = match name {
            Some(name) => serde_json::from_str(name.get()).map_err(|_| {
                let message = "model: is not a string: name one of GET /v1/models";
                ApiError::bad_request(Some("model"), message)
            })?,
            None => Cow::Borrowed(endpoint.model().ok_or_else(no_model)?),
        };
        let prompt = glance.messages.or(glance.prompt).or(glance.input).or(glance.query);
        let of_prompt = [prompt, glance.documents].into_iter().flatten();
        let document = Self {
            prompt_tokens: of_prompt.map(|prompt| tokens(prompt.get().as_bytes())).sum(),
            // Other fields of these names are none of tokens.
            answer_tokens: if endpoint.has_streams() { glance.answer_tokens()? } else { 0 },
            form: None,
            name: glance.model.map(|name| place(&bytes, name)),
            model: model.into_owned(),
            store: glance.store.unwrap_or(endpoint.is_stored()),
            is_stream: glance.stream.is_some_and(|stream| stream.get() == "true"),
            stream_options: glance.stream_options.map(|options| place(&bytes, options)),
            prompt: prompt.map_or(0..0, |prompt| place(&bytes, prompt)),
            bytes: Bytes::new(),
        };
        Ok(Self { bytes, ..document })
    }

    /// The model that the client named.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// Returns whether the answer is to be a stream.
    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// The bytes that the client sent.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Tokens of the prompt: a quarter of its bytes, as English has it.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens
    }

    /// Tokens that it may use: those of the prompt, and as many as it allows for all of its answers.
    pub(crate) fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.answer_tokens)
    }

    /// Returns whether a second attempt would store a second result.
    pub(crate) fn is_stored(&self) -> bool {
        self.store
    }

    /// The first `most` bytes of the prompt.
    pub(super) fn prefix(&self, most: usize) -> &[u8] {
        let prompt = &self.bytes[self.prompt.clone()];
        &prompt[..prompt.len().min(most)]
    }

    /// Content type of a form, with its boundary; `None` for JSON.
    pub(super) fn form(&self) -> Option<&HeaderValue> {
        self.form.as_ref()
    }

    /// The edit that renames the model; `None` if the client names none in a form.
    pub(super) fn renamed(&self, name: &Name) -> Option<Edit> {
        match (&self.form, self.name.clone()) {
            (Some(_), at) => Some(Edit { at: at?, text: name.text().clone() }),
            (None, Some(at)) => Some(Edit { at, text: name.json().clone() }),
            (None, None) => {
                let first = self.first_field()?;
                let text = [br#""model":"#.as_slice(), name.json(), b","].concat().into();
                Some(Edit { at: first..first, text })
            }
        }
    }

    /// Place of the first field of a JSON object, before which a field can be put.
    fn first_field(&self) -> Option<usize> {
        let first = memchr::memchr(b'{', &self.bytes)? + 1;
        (*self.bytes[first..].trim_ascii_start().first()? != b'}').then_some(first)
    }

    /// The edit that asks for the usage at the end of a stream; `None` if the answer is to be no stream,
    /// the client asks for it itself, or its `stream_options` are none.
    pub(super) fn asking_for_usage(&self) -> Option<Edit> {
        const FIELD: &str = "include_usage";
        if !self.is_stream {
            return None;
        }
        let Some(at) = self.stream_options.clone() else {
            let text = Bytes::from_static(br#""stream_options":{"include_usage":true},"#);
            let first = self.first_field()?;
            return Some(Edit { at: first..first, text });
        };
        let options: Option<Map<String, Value>> =
            serde_json::from_slice(&self.bytes[at.clone()]).ok()?;
        let mut options = options.unwrap_or_default();
        match options.insert(FIELD.to_owned(), true.into()) {
            Some(Value::Bool(false) | Value::Null) | None => {
                Some(Edit { at, text: serde_json::to_vec(&options).ok()?.into() })
            }
            // Requested already, or invalid, which the upstream reports.
            Some(_) => None,
        }
    }

    /// Its bytes with these edits, of which none overlaps another.
    pub(super) fn pieces(&self, edits: [Option<Edit>; 2]) -> Pieces {
        let mut pieces = Pieces::default();
        let mut edits = edits;
        // `None` is first.
        edits.sort_by_key(|edit| edit.as_ref().map(|edit| edit.at.start));
        let mut done = 0;
        for (place, edit) in edits.into_iter().flatten().enumerate() {
            pieces[2 * place] = self.bytes.slice(done..edit.at.start);
            pieces[2 * place + 1] = edit.text;
            done = edit.at.end;
        }
        pieces[4] = self.bytes.slice(done..);
        pieces
    }
}

fn no_model() -> ApiError {
    ApiError::bad_request(Some("model"), "model: missing: name one of GET /v1/models")
}

/// A value that is there, also if it is null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

impl Glance<'_> {
    /// Tokens that all answers together may have, as far as that is bounded.
    fn answer_tokens(&self) -> Result<u64, ApiError> {
        use numbers::{prompts, whole};
        let bounds = [
            whole("max_completion_tokens", self.max_completion_tokens)?,
            whole("max_tokens", self.max_tokens)?,
            whole("max_output_tokens", self.max_output_tokens)?,
        ];
        let of_one = bounds.into_iter().flatten().max().unwrap_or_default();
        let answers = whole("n", self.n)?.max(whole("best_of", self.best_of)?).unwrap_or(1).max(1);
        Ok(of_one.saturating_mul(answers).saturating_mul(prompts(self.prompt)))
    }
}

/// Tokens of a prompt, pictures and sounds in it left out.
fn tokens(prompt: &[u8]) -> u64 {
    // To make one takes longer than to look over a short prompt.
    static DATA: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b";base64,"));
    let data = DATA.find_iter(prompt);
    let length = |at: usize| memchr::memchr(b'"', &prompt[at..]).unwrap_or_default();
    let left_out: usize = data.map(length).sum();
    tokens_of(prompt.len().saturating_sub(left_out))
}

/// Place of a value that was borrowed from `bytes` in them.
fn place(bytes: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - bytes.as_ptr().addr();
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Document {
        Document::read(Endpoint::Chat, Bytes::from_static(text.as_bytes())).expect("a request")
    }

    fn renamed(text: &'static str, name: &'static str) -> String {
        let document = read(text);
        let edit = document.renamed(&Name::new(name));
        let pieces = document.pieces([edit, document.asking_for_usage()]);
        String::from_utf8(pieces.concat()).expect("text")
    }

    #[test]
    fn nothing_but_the_name_is_replaced() {
        let text = r#"{ "x": [1.0, 1e3],"model" : "a\u0041" ,"messages":[{"model":"no"}] }"#;
        assert_eq!(read(text).model(), "aA");
        assert_eq!(read(text).pieces([None, None]).concat(), text.as_bytes());
        let expected = r#"{ "x": [1.0, 1e3],"model" : "b" ,"messages":[{"model":"no"}] }"#;
        assert_eq!(renamed(text, "b"), expected);
    }

    #[test]
    fn streams_ask_for_their_usage() {
        for (text, expected) in [
            (r#"{"model":"a"}"#, r#"{"model":"b"}"#),
            (r#"{"stream":false,"model":"a"}"#, r#"{"stream":false,"model":"b"}"#),
            (
                r#" {"stream":true,"model":"a"}"#,
                r#" {"stream_options":{"include_usage":true},"stream":true,"model":"b"}"#,
            ),
            (
                r#"{"stream":true,"model":"a","stream_options":null}"#,
                r#"{"stream":true,"model":"b","stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":false,"x":1},"stream":true,"model":"a","y":2}"#,
                r#"{"stream_options":{"include_usage":true,"x":1},"stream":true,"model":"b","y":2}"#,
            ),
            (
                r#"{"stream_options":{"include_usage": true},"stream":true,"model":"a"}"#,
                r#"{"stream_options":{"include_usage": true},"stream":true,"model":"b"}"#,
            ),
            (
                r#"{"stream_options":7,"stream":true,"model":"a"}"#,
                r#"{"stream_options":7,"stream":true,"model":"b"}"#,
            ),
        ] {
            assert_eq!(renamed(text, "b"), expected);
        }
    }

    #[test]
    fn requests_without_a_model_are_renamed_too() {
        let read = |text: &'static str| {
            let bytes = Bytes::from_static(text.as_bytes());
            Document::read(Endpoint::Moderations, bytes).expect("a request")
        };
        for (text, expected) in [
            (r#" { "input":"a"}"#, r#" {"model":"b", "input":"a"}"#),
            (r#"{"model":null,"input":"a"}"#, r#"{"model":"b","input":"a"}"#),
            ("{}", "{}"),
        ] {
            let document = read(text);
            let pieces = document.pieces([document.renamed(&Name::new("b")), None]);
            assert_eq!(pieces.concat(), expected.as_bytes());
            assert_eq!(document.model(), "omni-moderation-latest");
        }
        assert!(Document::read(Endpoint::Chat, Bytes::from_static(b"{}")).is_err());
        let responses = |text: &'static str| {
            Document::read(Endpoint::Responses, Bytes::from_static(text.as_bytes()))
        };
        assert!(responses(r#"{"model":"m"}"#).expect("a request").is_stored());
        assert!(!responses(r#"{"model":"m","store":false}"#).expect("a request").is_stored());
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
        assert_eq!(tokens(r#"{"model":"m","max_completion_tokens":7,"max_tokens":9}"#), 9);
        assert_eq!(tokens(r#"{"model":"m","max_output_tokens":7}"#), 7);
        assert_eq!(tokens(r#"{"model":"m","max_tokens":1e1,"n":2,"best_of":50.0}"#), 500);
        assert_eq!(tokens(r#"{"model":"m","prompt":["a","b"],"max_tokens":100}"#), 203);
        assert_eq!(tokens(r#"{"model":"m","max_tokens":-1}"#), 0);
        let other = Document::read(
            Endpoint::Rerank,
            Bytes::from_static(br#"{"model":"m","query":"12","n":"x","max_tokens":9}"#),
        );
        assert_eq!(other.expect("fields of others").tokens(), 1);
        let ranking = r#"{"model":"m","query":"12","documents":["12345678"]}"#;
        assert_eq!(tokens(ranking), 1 + 3);
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
            r#"{"model":"a","max_tokens":"lots"}"#,
            // Upstreams differ in which of two names counts.
            r#"{"model":"a","model":"b"}"#,
        ];
        for text in texts {
            let read = Document::read(Endpoint::Chat, Bytes::from_static(text.as_bytes()));
            assert!(read.is_err(), "{text}");
        }
    }
}
