//! The tokens of one request, counted while its answer passes.

use bytes::Bytes;

use super::{Facts, Report, Usage, inspect, tokens_of};

/// Counts the tokens of an answer that passes.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Tokens of the prompt, for upstreams that do not report them.
    prompt: u64,
    form: Form,
    report: Report,
    /// Tokens of the text that has passed.
    passed: u64,
    /// The first and the last bytes of an answer in JSON.
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

impl Tally {
    /// Begins to count an answer to a request of about `prompt` tokens.
    pub(crate) fn new(prompt: u64, form: Form) -> Self {
        Self {
            prompt,
            form,
            report: Report::default(),
            passed: 0,
            head: Vec::new(),
            tail: Vec::new(),
            length: 0,
        }
    }

    /// Counts an event.
    pub(crate) fn event(&mut self, facts: &Facts) {
        self.passed += facts.tokens_of_event();
        self.reported(facts.usage);
    }

    /// Counts a piece of an event that is too long to be looked into.
    pub(crate) fn piece_of_event(&mut self, bytes: usize) {
        self.passed += tokens_of(bytes);
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

    /// Counts an answer that is there whole.
    pub(crate) fn whole(&mut self, bytes: &Bytes) -> Facts {
        if matches!(self.form, Form::Opaque | Form::Plain) {
            self.piece(bytes);
            return Facts::default();
        }
        if bytes.len() > 2 * ENDS {
            self.piece(bytes);
            return self.ends();
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
        if !self.head.is_empty() {
            self.ends();
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

    /// Looks into both ends of an answer.
    fn ends(&mut self) -> Facts {
        let (head, tail) = (std::mem::take(&mut self.head), std::mem::take(&mut self.tail));
        let facts = inspect(&head);
        self.passed += match self.form {
            _ if self.length == head.len() as u64 => facts.tokens_of_whole(),
            Form::Text => self.length.div_ceil(4),
            _ => 0,
        };
        self.reported(facts.usage.or_else(|| at_end(&tail)));
        facts
    }
}

/// The usage in the last bytes of an object: the last one that is a field of the object itself, which
/// shows by what follows.
fn at_end(tail: &[u8]) -> Option<Report> {
    const NAME: &[u8] = b"\"usage\"";
    // Text of an upstream: a bound on how often it is read.
    let mut places = memchr::memmem::rfind_iter(tail, NAME).take(TRIES);
    let repaired = places.find_map(|at| {
        let object = [b"{", &tail[at..]].concat();
        serde_json::from_slice::<serde::de::IgnoredAny>(&object).is_ok().then_some(object)
    });
    inspect(&repaired?).usage
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
}
