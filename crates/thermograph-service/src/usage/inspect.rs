//! The facts in the JSON of an answer, or of an event of one: its usage, how much text it has, and
//! whether it is an error. All else is passed over.

use std::{fmt, ops::Range};

use http::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Report,
    failure::{status_named, status_of},
    text::{Only, Text, text_of},
    tokens_of,
};

/// Facts of a JSON value.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Facts {
    /// The usage, wherever servers put it.
    pub(crate) usage: Option<Report>,
    /// True if there is a `usage`, and it is null.
    pub(crate) has_null_usage: bool,
    /// True if there is a list of choices, and it is empty.
    pub(super) has_no_choices: bool,
    /// If it is an error, the status of an answer that says so.
    pub(crate) error: Option<StatusCode>,
    /// False if it is no JSON, or JSON with nothing in it: no answer.
    pub(crate) is_answer: bool,
    /// Bytes of text that the model has made.
    pub(super) text: usize,
}

/// Name of an object, and type of an event, that is an error.
const ERROR: &str = r#""error""#;
/// Types of events that say that the answer has failed.
const FAILED: [&str; 3] = [ERROR, r#""response.failed""#, r#""response.error""#];
/// End of the type of an event with sound in Base64.
const AUDIO: &str = r#"audio.delta""#;
/// Longest text of an event that counts as one token: most servers send an event for each.
const TOKEN: usize = 16;

/// Reads what there is to know. Of text that is no JSON, or ends too early, what stands before that.
pub(crate) fn inspect(json: &[u8]) -> Facts {
    inspect_with_text(json).0
}

/// Reads what there is to know, and where the text is, if it is a single string without escapes.
pub(super) fn inspect_with_text(json: &[u8]) -> (Facts, Option<Range<usize>>) {
    let mut top = Top::default();
    // Not ours to judge: the client gets it as it is. Text is read faster if it is known to be text.
    let read = match str::from_utf8(json) {
        Ok(json) => serde_json::Deserializer::from_str(json).deserialize_any(&mut top),
        Err(_) => serde_json::Deserializer::from_slice(json).deserialize_any(&mut top),
    };
    let only = match (top.choices.only, top.added.only, top.transcript) {
        (Only::One(text), Only::Missing, None) | (Only::Missing, Only::One(text), None) => {
            Some(text)
        }
        _ => None,
    };
    let place = only.filter(|_| read.is_ok()).map(|text| {
        let start = text.as_ptr().addr() - json.as_ptr().addr();
        start..start + text.len()
    });
    (top.facts(), place)
}

impl Facts {
    /// Facts of a good answer with this usage.
    pub(super) fn of_answer(usage: Report) -> Self {
        Self { usage: Some(usage), is_answer: true, ..Self::default() }
    }

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
        self.usage.is_some() && self.has_no_choices
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
    /// The status or the name of an error without an `error`.
    code: Option<&'a RawValue>,
    object: Option<&'a RawValue>,
    choices: Text<'a>,
    /// Text of other APIs than OpenAI's chat: what an event adds, or all of it.
    added: Text<'a>,
    /// Text of a transcription, or of an event that repeats what was added: that has a `type`.
    transcript: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    is_answer: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Usage,
    #[serde(alias = "message", alias = "x_groq")]
    Response,
    Meta,
    Error,
    Code,
    Object,
    Choices,
    #[serde(alias = "content", alias = "output")]
    Delta,
    Text,
    Type,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    usage: Option<Report>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
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
        let envelope: Option<Envelope<'_>> = self.envelope.and_then(read);
        let usage = self.usage.and_then(read);
        let is_audio = self.kind.is_some_and(|kind| kind.get().ends_with(AUDIO));
        let added = if is_audio { 0 } else { self.added.bytes };
        let transcript = self.transcript.filter(|_| self.kind.is_none()).map_or(0, text_of);
        Facts {
            usage: usage.or_else(|| self.usage_within(envelope.as_ref())),
            has_null_usage: self.usage.is_some_and(|usage| usage.get() == "null"),
            has_no_choices: self.choices.is_empty_list,
            error: self.error(envelope.as_ref()),
            is_answer: self.is_answer,
            text: self.choices.bytes + added + transcript,
        }
    }

    fn usage_within(&self, envelope: Option<&Envelope<'_>>) -> Option<Report> {
        let meta: Option<Meta> = self.meta.and_then(read);
        let usage = envelope.and_then(|envelope| envelope.usage);
        usage.or_else(|| meta.and_then(|meta| meta.tokens.or(meta.billed_units)))
    }

    /// The status that an error speaks of, if this is one: there is an `error` that says something, or
    /// the object or the event is called an error.
    fn error(&self, envelope: Option<&Envelope<'_>>) -> Option<StatusCode> {
        if let Some(status) = self.error.and_then(status_of) {
            return Some(status);
        }
        let is_failed = self.kind.is_some_and(|kind| FAILED.contains(&kind.get()))
            || self.object.is_some_and(|object| object.get() == ERROR);
        let within = || envelope.and_then(|envelope| envelope.error).and_then(status_of);
        is_failed.then(|| within().unwrap_or_else(|| status_named([self.code, self.kind])))
    }
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
        (self.error, self.is_answer) = (first.error, true);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            self.is_answer = true;
            let value = match key {
                Key::Usage => &mut self.usage,
                Key::Response => &mut self.envelope,
                Key::Meta => &mut self.meta,
                Key::Error => &mut self.error,
                Key::Code => &mut self.code,
                Key::Object => &mut self.object,
                Key::Choices => {
                    map.next_value_seed(&mut self.choices)?;
                    continue;
                }
                Key::Delta => {
                    map.next_value_seed(&mut self.added)?;
                    continue;
                }
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
            (r#"{"type":"response.audio.delta","delta":"QUJD"}"#, 0),
            (r#"{"type":"response.audio.transcript.delta","delta":"abc"}"#, 3),
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
    fn errors_are_seen_whatever_they_are_called() {
        for (json, status) in [
            (r#"{"error":{"message":"x","code":503}}"#, 503),
            (r#"[{"error":{"message":"x","code":429,"status":"RESOURCE_EXHAUSTED"}}]"#, 429),
            (r#"{"error":{"message":"x","code":503},"choices":[{"finish_reason":"error"}]}"#, 503),
            (r#"{"type":"error","error":{"type":"overloaded_error"}}"#, 503),
            (r#"{"type":"error","code":"rate_limit_exceeded","message":"x"}"#, 429),
            (r#"{"type":"error"}"#, 502),
            (r#"{"object":"error","message":"x","type":"BadRequestError","code":400}"#, 400),
            (r#"{"object":"error","message":"x"}"#, 502),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded"}}}"#,
                429,
            ),
            (r#"{"type":"response.failed","response":{"error":null}}"#, 502),
            (r#"{"error":"x"}"#, 502),
            (r#"{"error":true,"choices":[]}"#, 502),
        ] {
            assert_eq!(facts(json).error.map(|status| status.as_u16()), Some(status), "{json}");
        }
        for json in [
            r#"{"error":null,"choices":[{}]}"#,
            r#"{"error":false}"#,
            r#"{"error":"","choices":[{}]}"#,
            r#"{"error": { },"choices":[{}]}"#,
            r#"{"error":{"code":0,"message":""},"choices":[{}]}"#,
            r#"{"choices":[{"error":1}]}"#,
            r#"{"type":"response.incomplete","response":{"error":null}}"#,
            r#"{"object":"list","data":[{"object":"error"}]}"#,
        ] {
            assert_eq!(facts(json).error, None, "{json}");
        }
    }

    #[test]
    fn nothing_is_no_answer() {
        for json in ["", " ", "null", "{}", "{ }", "OK", "<html>", "\"text\"", "1"] {
            assert!(!facts(json).is_answer, "{json}");
        }
        for json in ["{\"id\":", "[]", "{\"data\":[NaN]}"] {
            assert!(facts(json).is_answer, "{json}");
        }
    }

    #[test]
    fn empty_lists_of_choices_are_seen() {
        assert!(facts(r#"{"choices": [ ]}"#).has_no_choices);
        for json in
            [r#"{"choices":[{}]}"#, r#"{"choices":[{"x":[]}]}"#, r#"{"choices":null}"#, "{}"]
        {
            assert!(!facts(json).has_no_choices, "{json}");
        }
        assert!(facts(r#"{"choices":[],"usage":{"prompt_tokens":1}}"#).is_usage_event());
        assert!(!facts(r#"{"choices":[],"usage":null}"#).is_usage_event());
    }
}
