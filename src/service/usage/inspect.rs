//! The facts in the JSON of an answer, or of an event of one: its usage, how much text it has, and
//! whether it is an error. All else is passed over.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Report, tokens_of};

/// Facts of a JSON value.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Facts {
    /// The usage, wherever servers put it.
    pub(crate) usage: Option<Report>,
    choices: Choices,
    /// If there is an `error`, the status of an answer that says so.
    pub(crate) error: Option<u16>,
    /// Bytes of text that the model has made.
    text: usize,
}

/// The list of choices in an answer of a chat.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Choices {
    /// There is no list.
    #[default]
    Missing,
    Empty,
    Some,
}

/// Values of `error` that say that there is none.
const NO_ERROR: [&str; 2] = ["null", "false"];
/// Longest text of an event that counts as one token: most servers send an event for each.
const TOKEN: usize = 16;

/// Reads what there is to know. Of text that is no JSON, or ends too early, what stands before that.
pub(crate) fn inspect(json: &[u8]) -> Facts {
    let mut top = Top::default();
    let mut json = serde_json::Deserializer::from_slice(json);
    // Not ours to judge: the client gets it as it is.
    let _ = json.deserialize_any(&mut top);
    top.facts()
}

impl Facts {
    /// Tokens of the text of an event.
    pub(super) fn tokens_of_event(&self) -> u64 {
        match self.text {
            0 => 0,
            1..=TOKEN => 1,
            more => tokens_of(more),
        }
    }

    /// Tokens of the text of a whole answer.
    pub(super) fn tokens_of_whole(&self) -> u64 {
        tokens_of(self.text)
    }

    /// Returns whether this is the event that OpenAI's API sends for `include_usage`.
    pub(crate) fn is_usage_event(&self) -> bool {
        self.usage.is_some() && self.choices == Choices::Empty
    }
}

/// The values of an answer that matter.
#[derive(Default)]
struct Top<'a> {
    usage: Option<&'a RawValue>,
    /// The answer in an event of the Responses API, the message in one of the Messages API, and what
    /// Groq adds: each may have a `usage`.
    envelope: Option<&'a RawValue>,
    /// Cohere's account of a ranking.
    meta: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    choices: Option<&'a RawValue>,
    /// Text of other APIs than OpenAI's chat: what an event adds, or all of it.
    text: Option<&'a RawValue>,
    /// Text of a transcription, or of an event that repeats what was added: that has a `type`.
    transcript: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Usage,
    #[serde(alias = "message", alias = "x_groq")]
    Response,
    Meta,
    Error,
    Choices,
    #[serde(alias = "content", alias = "output")]
    Delta,
    Text,
    Type,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    usage: Option<Report>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    tokens: Option<Report>,
    #[serde(default)]
    billed_units: Option<Report>,
}

impl Top<'_> {
    fn facts(&self) -> Facts {
        let usage = self.usage.and_then(read);
        let choices =
            self.choices.map_or(Choices::Missing, |choices| match choices.get().as_bytes() {
                [b'[', inside @ .., b']'] if inside.trim_ascii().is_empty() => Choices::Empty,
                _ => Choices::Some,
            });
        let transcript = self.transcript.filter(|_| self.kind.is_none());
        Facts {
            usage: usage.or_else(|| self.usage_within()),
            choices,
            error: self.error.filter(|error| !NO_ERROR.contains(&error.get())).map(status_of),
            text: [self.choices, self.text, transcript].into_iter().flatten().map(text_of).sum(),
        }
    }

    fn usage_within(&self) -> Option<Report> {
        let envelope: Option<Envelope> = self.envelope.and_then(read);
        let meta: Option<Meta> = self.meta.and_then(read);
        let usage = envelope.and_then(|envelope| envelope.usage);
        usage.or_else(|| meta.and_then(|meta| meta.tokens.or(meta.billed_units)))
    }
}

/// The status that an error object speaks of, in a `code` or a `status` that is a number or by its
/// kind; else that of an upstream that failed.
fn status_of(error: &RawValue) -> u16 {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        code: serde_json::Value,
        #[serde(default)]
        status: serde_json::Value,
        #[serde(default, rename = "type")]
        kind: serde_json::Value,
    }
    let Some(Object { code, status, kind }) = read(error) else { return 502 };
    let values = [code, status, kind];
    let number = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    let numbers = values.iter().filter_map(number).filter_map(|number| u16::try_from(number).ok());
    let names = values.iter().filter_map(serde_json::Value::as_str).filter_map(status_of_name);
    numbers.filter(|number| (400..600).contains(number)).chain(names).next().unwrap_or(502)
}

/// The status of a kind of error, in OpenAI's and Anthropic's words.
fn status_of_name(name: &str) -> Option<u16> {
    Some(match name {
        "invalid_request_error" | "context_length_exceeded" | "BadRequestError" => 400,
        "authentication_error" | "invalid_api_key" => 401,
        "permission_error" => 403,
        "not_found_error" | "model_not_found" | "NotFoundError" => 404,
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" => 429,
        "overloaded_error" => 503,
        _ => return None,
    })
}

/// Reads a value; `None` if it is null, or of another form.
fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str::<Option<T>>(value.get()).ok().flatten()
}

impl<'de> DeserializeSeed<'de> for &mut Top<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Top<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// Google's servers put an error into a list.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut first = Top::default();
        list.next_element_seed(&mut first)?;
        self.error = first.error;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            let value = match key {
                Key::Usage => &mut self.usage,
                Key::Response => &mut self.envelope,
                Key::Meta => &mut self.meta,
                Key::Error => &mut self.error,
                Key::Choices => &mut self.choices,
                Key::Delta => &mut self.text,
                Key::Text => &mut self.transcript,
                Key::Type => &mut self.kind,
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *value = Some(map.next_value()?);
        }
        Ok(())
    }
}

/// Bytes of text that a model has made, in a value: of strings under names that are usual for that.
fn text_of(value: &RawValue) -> usize {
    let mut text = Text { bytes: 0, counts: true };
    // Raw values are JSON.
    let _ = (&mut text).deserialize(&mut serde_json::Deserializer::from_str(value.get()));
    text.bytes
}

struct Text {
    bytes: usize,
    /// True if strings count here.
    counts: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    #[serde(
        alias = "content",
        alias = "arguments",
        alias = "reasoning",
        alias = "reasoning_content",
        alias = "refusal",
        alias = "partial_json",
        alias = "thinking"
    )]
    Text,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for &mut Text {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Text {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.counts {
            self.bytes += text.len();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(&mut *self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let counts = self.counts;
        while let Some(name) = map.next_key()? {
            self.counts = matches!(name, Name::Text);
            map.next_value_seed(&mut *self)?;
        }
        self.counts = counts;
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(json: &str) -> Facts {
        inspect(json.as_bytes())
    }

    fn tokens(json: &str) -> Option<[u64; 2]> {
        let usage = facts(json).usage?.with_prompt(1000);
        Some([usage.prompt_tokens, usage.completion_tokens])
    }

    #[test]
    fn usage_is_found_where_servers_put_it_and_nowhere_else() {
        for (json, expected) in [
            (r#"{"choices":[],"usage" : {"prompt_tokens":3,"completion_tokens":4}}"#, Some([3, 4])),
            (r#"{"x_groq":{"usage":{"prompt_tokens":3,"completion_tokens":4}}}"#, Some([3, 4])),
            (
                r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}"#,
                Some([3, 4]),
            ),
            (
                r#"{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":1}}}"#,
                Some([3, 1]),
            ),
            (r#"{"results":[],"meta":{"billed_units":{"search_units":1}}}"#, Some([1000, 0])),
            (r#"{"meta":{"tokens":{"input_tokens":7},"billed_units":{}}}"#, Some([7, 0])),
            (r#"{"usage":null,"metadata":{"usage":{"prompt_tokens":9}}}"#, None),
            (r#"{"tools":[{"properties":{"usage":{"prompt_tokens":9}}}],"usage":7}"#, None),
            (r#"{"content":"\"usage\":{\"prompt_tokens\":9}"}"#, None),
            (r#"[{"usage":{"prompt_tokens":9}}]"#, None),
            ("", None),
            ("[DONE]", None),
        ] {
            assert_eq!(tokens(json), expected, "{json}");
        }
    }

    #[test]
    fn json_that_breaks_off_is_read_as_far_as_it_goes() {
        let json = r#"{"usage":{"prompt_tokens":3},"data":[1,2,"#;
        assert_eq!(tokens(json), Some([3, 0]));
        assert_eq!(tokens(r#"{"usage":{"prompt_tokens":"#), None);
    }

    #[test]
    fn text_is_what_the_model_has_made() {
        for (json, text) in [
            (r#"{"id":"x","choices":[{"delta":{"role":"assistant","content":""}}]}"#, 0),
            (r#"{"choices":[{"delta":{"content":"abc","reasoning_content":"de"}}]}"#, 5),
            (r#"{"choices":[{"text":"abc"},{"text":"d\n"}]}"#, 5),
            (r#"{"choices":[{"message":{"content":[{"type":"text","text":"abc"}]}}]}"#, 3),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"id":"call_1","function":{"name":"f","arguments":"{}"}}]}}]}"#,
                2,
            ),
            (r#"{"choices":[{"logprobs":{"content":[{"token":"abc"}]},"text":"abc"}]}"#, 3),
            (r#"{"type":"response.output_text.delta","delta":"abc"}"#, 3),
            (r#"{"type":"response.output_text.done","text":"abc"}"#, 0),
            (r#"{"text":"abc","duration":1.5,"segments":[{"text":"abc"}]}"#, 3),
            (r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"abc"}}"#, 3),
            (r#"{"type":"message","content":[{"type":"text","text":"abc"}]}"#, 3),
            (r#"{"object":"response","output":[{"content":[{"text":"abc"}]}]}"#, 3),
            (r#"{"response":{"output":[{"content":[{"text":"abc"}]}]}}"#, 0),
            (r#"{"data":[{"embedding":[1,2]}]}"#, 0),
        ] {
            assert_eq!(facts(json).text, text, "{json}");
        }
    }

    #[test]
    fn errors_and_empty_lists_are_seen() {
        for (json, status) in [
            (r#"{"error":{"message":"x","code":503}}"#, Some(503)),
            (r#"[{"error":{"message":"x","code":429,"status":"RESOURCE_EXHAUSTED"}}]"#, Some(429)),
            (r#"{"error":{"message":"x","code":"500"}}"#, Some(500)),
            (r#"{"error":{"code":null,"type":"invalid_request_error"}}"#, Some(400)),
            (r#"{"error":{"code":"rate_limit_exceeded","type":"x"}}"#, Some(429)),
            (r#"{"type":"error","error":{"type":"overloaded_error"}}"#, Some(503)),
            (r#"{"error":{"code":7}}"#, Some(502)),
            (r#"{"error":"x"}"#, Some(502)),
            (r#"{"error":null,"choices":[{}]}"#, None),
            (r#"{"choices":[{"error":1}]}"#, None),
        ] {
            assert_eq!(facts(json).error, status, "{json}");
        }
        assert_eq!(facts(r#"{"choices": [ ]}"#).choices, Choices::Empty);
        assert_eq!(facts(r#"{"choices":[{}]}"#).choices, Choices::Some);
        assert_eq!(facts("{}").choices, Choices::Missing);
        assert!(facts(r#"{"choices":[],"usage":{"prompt_tokens":1}}"#).is_usage_event());
        assert!(!facts(r#"{"choices":[],"usage":null}"#).is_usage_event());
    }
}
