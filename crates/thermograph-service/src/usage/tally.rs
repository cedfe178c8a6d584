//! The tokens of one request, counted while its answer passes.

use std::{mem, sync::LazyLock};

use bytes::Bytes;
use memchr::{memchr2, memmem::FinderRev};
use serde::de::IgnoredAny;

use super::{Facts, Report, Usage, failure::may_be_error, inspect, tokens_of};

/// Counts the tokens of an answer that passes.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Tokens of the prompt, for upstreams that do not report them.
    prompt: u64,
    form: Form,
    report: Report,
    /// Tokens of the text that has passed.
    passed: u64,
    /// Both ends of an answer in JSON, or of an event that is too long to be looked into.
    ends: Ends,
}

/// The first and the last bytes of JSON that passes in pieces.
#[derive(Debug, Default)]
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
    length: u64,
}

/// Form of an answer, by which its tokens are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// JSON with text that a model has made.
    Text,
    /// JSON without such text: vectors, a ranking.
    Data,
    /// Text that a model has made, and nothing else.
    Plain,
    /// JSON that uses no tokens: it says how many a request would.
    Free,
    /// Server-sent events.
    Events,
    /// Sounds, pictures, and whatever is no JSON.
    Opaque,
}

/// Most places in the last bytes of an answer at which its usage may begin.
const TRIES: usize = 8;
/// Bytes at each end of an answer in JSON that are looked into: the usage stands first or last.
const ENDS: usize = 32 << 10;
/// Bytes at the end of an answer in which its usage stands as a rule.
const END: usize = 512;
/// Beginning of an answer before its usage.
const OF_WHOLE: [&[u8]; 1] = [b"{"];
/// Beginnings of an event before its usage, which may be in the answer that it tells.
const OF_EVENT: [&[u8]; 2] = [b"{", b"{\"response\":{"];
/// Letters in a row that are no text but a picture or a sound in Base64.
const WORD: usize = 512;

impl Tally {
    /// Begins to count an answer to a request of about `prompt` tokens.
    pub(crate) fn new(prompt: u64, form: Form) -> Self {
        Self { prompt, form, report: Report::default(), passed: 0, ends: Ends::default() }
    }

    /// Counts an event.
    pub(crate) fn event(&mut self, facts: &Facts) {
        self.passed += facts.tokens_of_event();
        self.reported(facts.usage);
    }

    /// Counts a piece of an event that is too long to be looked into as a whole; `is_last` says that the
    /// event ends with it. Returns the facts at its ends then.
    pub(crate) fn piece_of_event(&mut self, bytes: &[u8], is_last: bool) -> Option<Facts> {
        self.passed += tokens_of(text_in(bytes));
        self.ends.add(bytes);
        is_last.then(|| {
            let (facts, usage) = mem::take(&mut self.ends).facts(&OF_EVENT);
            self.reported(usage);
            facts
        })
    }

    /// Counts a piece of an answer that is no stream of events.
    pub(crate) fn piece(&mut self, bytes: &Bytes) {
        match self.form {
            Form::Opaque => return,
            Form::Plain => {
                self.passed += tokens_of(bytes.len());
                return;
            }
            _ => {}
        }
        self.ends.add(bytes);
    }

    /// Counts an answer that is there whole.
    pub(crate) fn whole(&mut self, bytes: &Bytes) -> Facts {
        if matches!(self.form, Form::Opaque | Form::Plain) {
            self.piece(bytes);
            return inspect(bytes);
        }
        if let Some(report) = good_end(bytes) {
            self.report.update(report);
            return Facts::of_answer(report);
        }
        if bytes.len() > 2 * ENDS {
            self.piece(bytes);
            return self.looked_into();
        }
        let facts = inspect(bytes);
        self.passed += facts.tokens_of_whole();
        self.reported(facts.usage);
        facts
    }

    /// The tokens of an answer that has come to its end.
    pub(crate) fn ended(&mut self) -> Usage {
        if self.form == Form::Free {
            return Usage::default();
        }
        if self.ends.length > 0 && self.form != Form::Events {
            self.looked_into();
        }
        let mut usage = self.report.with_prompt(self.prompt);
        if self.report.completion().is_none() {
            usage.completion_tokens = self.passed;
        }
        usage
    }

    /// The tokens of an answer that has broken off, or whose client has left: what has passed.
    pub(crate) fn broken(&mut self) -> Usage {
        let mut usage = self.ended();
        usage.completion_tokens = usage.completion_tokens.max(self.passed);
        usage.is_estimated = true;
        usage
    }

    fn reported(&mut self, usage: Option<Report>) {
        if let Some(usage) = usage {
            self.report.update(usage);
        }
    }

    /// Looks into both ends of an answer that has passed.
    fn looked_into(&mut self) -> Facts {
        let ends = mem::take(&mut self.ends);
        let length = ends.length;
        let is_short = length == ends.head.len() as u64;
        let (facts, usage) = ends.facts(&OF_WHOLE);
        self.passed += match self.form {
            _ if is_short => facts.tokens_of_whole(),
            Form::Text => length.div_ceil(4),
            _ => 0,
        };
        self.reported(usage);
        facts
    }
}

impl Ends {
    fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        let room = ENDS.saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        let last = &rest[rest.len().saturating_sub(ENDS)..];
        self.tail.extend_from_slice(last);
        if self.tail.len() > 2 * ENDS {
            self.tail.drain(..self.tail.len() - ENDS);
        }
    }

    /// The facts at the head, and the usage at either end.
    fn facts(self, beginnings: &[&[u8]]) -> (Facts, Option<Report>) {
        // The JSON of an event stands after the name of its field.
        let json = memchr2(b'{', b'[', &self.head).map_or(&[][..], |at| &self.head[at..]);
        let facts = inspect(json);
        (facts, facts.usage.or_else(|| at_end(&self.tail, beginnings)))
    }
}

/// Name of the usage.
static USAGE: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"\"usage\""));
/// The usage at the end of an answer that can be no error: most are counted by this, and not parsed.
fn good_end(json: &[u8]) -> Option<Report> {
    let end = &json[json.len().saturating_sub(END)..];
    let is_object = json.trim_ascii_start().starts_with(b"{");
    let report = at_end(end, &OF_WHOLE).filter(|_| is_object)?;
    (report.completion().is_some() && !may_be_error(json)).then_some(report)
}

/// The usage in the last bytes of an object: the last one that is JSON with one of the beginnings before
/// it, and so is where they say.
fn at_end(tail: &[u8], beginnings: &[&[u8]]) -> Option<Report> {
    // Text of an upstream: a bound on how often it is read.
    let mut places = USAGE.rfind_iter(tail).take(TRIES);
    places.find_map(|at| {
        let value = tail[at + USAGE.needle().len()..].trim_ascii_start().strip_prefix(b":")?;
        let mut values = serde_json::Deserializer::from_slice(value).into_iter();
        let usage = values.next()?.ok()?;
        let rest = &value[values.byte_offset()..];
        let ends = |beginning: &&[u8]| {
            let object = [beginning, &b"\"\":0"[..], rest].concat();
            serde_json::from_slice::<IgnoredAny>(&object).is_ok()
        };
        // Most often nothing follows.
        (rest.trim_ascii() == b"}" && beginnings[0] == b"{" || beginnings.iter().any(ends))
            .then_some(usage)
    })
}

/// Bytes that may be text, of JSON that is not looked into.
fn text_in(json: &[u8]) -> usize {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let words = json.chunk_by(|one, next| is_base64(one) == is_base64(next));
    words.filter(|word| word.len() < WORD || !is_base64(&word[0])).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(form: Form, pieces: &[&str]) -> Tally {
        let mut tally = Tally::new(1000, form);
        for piece in pieces {
            tally.piece(&Bytes::copy_from_slice(piece.as_bytes()));
        }
        tally
    }

    fn usage(prompt_tokens: u64, completion_tokens: u64, is_estimated: bool) -> Usage {
        Usage { prompt_tokens, completion_tokens, is_estimated, ..Usage::default() }
    }

    #[test]
    fn usage_is_found_at_either_end_of_an_answer_of_any_size() {
        let usages = [
            r#""usage":{"prompt_tokens":3,"total_tokens":3}"#,
            r#""usage" : { "prompt_tokens" : 3 } "#,
        ];
        let others = r#""model":"m","metadata":{"usage":{"prompt_tokens":9}}"#;
        for size in [10, ENDS, 10 * ENDS] {
            let data = format!(r#""data":[{}1]"#, "1,".repeat(size / 2));
            for fields in [
                [&data, usages[0], others],
                [usages[0], &data, others],
                [&data, others, usages[1]],
                [usages[1], others, &data],
            ] {
                let json = format!("{{{}}}\n", fields.join(","));
                for piece in [json.len(), 1000, 7] {
                    let pieces: Vec<_> = json.as_bytes().chunks(piece).collect();
                    let pieces: Vec<_> = pieces
                        .iter()
                        .map(|piece| std::str::from_utf8(piece).expect("ASCII"))
                        .collect();
                    assert_eq!(of(Form::Data, &pieces).ended(), usage(3, 0, false), "{piece}");
                }
                let mut tally = Tally::new(1000, Form::Data);
                tally.whole(&Bytes::from(json));
                assert_eq!(tally.ended(), usage(3, 0, false));
            }
        }
    }

    #[test]
    fn answer_without_usage_is_estimated() {
        let json = r#"{"choices":[{"message":{"content":"12345678"}}]}"#;
        assert_eq!(of(Form::Text, &[json]).ended(), usage(1000, 2, true));
        let nested =
            format!(r#"{{"data":[{}{{"usage":{{"prompt_tokens":9}}}}]}}"#, "1,".repeat(ENDS));
        assert_eq!(of(Form::Data, &[&nested]).ended(), usage(1000, 0, true));
        assert_eq!(of(Form::Opaque, &["\"usage\":"]).ended(), usage(1000, 0, true));
    }

    #[test]
    fn events_count_until_they_are_reported() {
        let event = |json: &str| inspect(json.as_bytes());
        let token = event(r#"{"choices":[{"delta":{"content":" größere"}}]}"#);
        let mut tally = Tally::new(1000, Form::Events);
        tally.event(&event(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#));
        tally.event(&token);
        tally.event(&token);
        assert_eq!(tally.broken(), usage(1000, 2, true));
        tally.event(&event(r#"{"choices":[{"delta":{"content":"twenty bytes of text"}}]}"#));
        assert_eq!(tally.ended(), usage(1000, 7, true));
        tally.event(&event(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#));
        assert_eq!(tally.ended(), usage(3, 4, false));
        // More has passed than was reported so far.
        assert_eq!(tally.broken(), usage(3, 7, true));
    }

    #[test]
    fn long_events_count_as_their_text_and_report_at_either_end() {
        let picture = "QUJD".repeat(ENDS);
        let words = "some text, ".repeat(ENDS);
        let usage_of = |field: &str, data: &str, pieces: usize| {
            let event = format!(
                "data: {{\"type\":\"response.completed\",\"response\":{{\"output\":\"{data}\"{field}}}}}\n\n"
            );
            let mut tally = Tally::new(1000, Form::Events);
            let pieces: Vec<_> = event.as_bytes().chunks(event.len().div_ceil(pieces)).collect();
            for (at, piece) in pieces.iter().enumerate() {
                tally.piece_of_event(piece, at + 1 == pieces.len());
            }
            tally.ended()
        };
        let reported = r#","usage":{"input_tokens":3,"output_tokens":4}"#;
        for pieces in [1, 2, 9] {
            assert_eq!(usage_of(reported, &picture, pieces), usage(3, 4, false));
            assert_eq!(usage_of(reported, &words, pieces), usage(3, 4, false));
            let estimated = usage_of("", &picture, pieces);
            assert!(estimated.is_estimated && estimated.completion_tokens < 600, "{estimated:?}");
            let estimated = usage_of("", &words, pieces).completion_tokens;
            let expected = words.len() as u64 / 4;
            assert!((expected..expected + 100).contains(&estimated), "{estimated}");
        }
    }

    #[test]
    fn long_event_that_is_an_error_is_seen() {
        let event =
            format!("data: {{\"error\":{{\"code\":429}},\"x\":\"{}\"}}\n\n", "x".repeat(3 * ENDS));
        let mut tally = Tally::new(1000, Form::Events);
        let facts = tally.piece_of_event(event.as_bytes(), true).expect("it is over");
        assert_eq!(facts.error.map(|status| status.as_u16()), Some(429));
    }

    #[test]
    fn usage_at_the_end_of_a_good_answer_is_found_without_parsing_it() {
        let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":4}"#;
        let report = |json: String| good_end(json.as_bytes()).map(|report| report.with_prompt(0));
        let choices = r#"{"choices":[{"message":{"content":"a \"usage\": 1"}}]"#;
        let found = report(format!("{choices},{usage},\"system_fingerprint\":null}}\n"));
        assert_eq!(found.map(|usage| (usage.prompt_tokens, usage.completion_tokens)), Some((3, 4)));
        for other in [
            format!("{choices},\"usage\":null}}"),
            format!("{choices},\"usage\":{{}}}}"),
            format!("{choices},\"x\":{{{usage}}}}}"),
            format!("[{choices},{usage}}}]"),
            format!("{choices},\"error\":null,{usage}}}"),
            format!("{{\"object\":\"error\",{usage}}}"),
            format!("{{\"type\":\"response.failed\",{usage}}}"),
            format!("{choices},{usage}"),
            String::new(),
        ] {
            assert_eq!(report(other.clone()), None, "{other}");
        }
    }
}
