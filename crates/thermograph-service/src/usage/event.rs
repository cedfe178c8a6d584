//! The facts in the events of a stream. Most differ from the one before in their text alone, and are not
//! parsed.

use std::ops::Range;

use http::StatusCode;
use memchr::memchr2;
use thermograph_codec::events::Event;

use super::{
    Facts,
    failure::may_be_error,
    inspect::{inspect, inspect_with_text},
};

/// Reads the events of a stream.
#[derive(Debug, Default)]
pub(crate) struct Inspector {
    last: Vec<u8>,
    /// Place of the text in the last event, and its facts; `None` if others cannot be told by it.
    known: Option<(Range<usize>, Facts)>,
}

/// Longest event that is remembered, in bytes.
const LONGEST: usize = 1 << 10;

/// The status of the error that an event is, if it is one.
pub(crate) fn error_of_event(event: &Event<'_>) -> Option<StatusCode> {
    let is_plain = event.name.is_empty() && event.data.starts_with(b"{");
    if is_plain && !may_be_error(&event.data) {
        return None;
    }
    inspect_event(event).error
}

/// Reads what there is to know of an event. Its name may say that it is an error, whatever its data are.
fn inspect_event(event: &Event<'_>) -> Facts {
    named(event, inspect(&event.data))
}

fn named(event: &Event<'_>, facts: Facts) -> Facts {
    let named = (event.name == b"error").then_some(StatusCode::BAD_GATEWAY);
    Facts { error: facts.error.or(named), ..facts }
}

impl Inspector {
    /// Reads what there is to know of an event.
    pub(crate) fn event(&mut self, event: &Event<'_>) -> Facts {
        let json = &*event.data;
        if let Some(facts) = self.known_facts(json) {
            return named(event, facts);
        }
        let (facts, place) = inspect_with_text(json);
        let counts = |place: &Range<usize>| facts.text == place.len() && facts.usage.is_none();
        let place = place.filter(counts).filter(|_| json.len() <= LONGEST);
        self.known = place.map(|place| (place, facts));
        if self.known.is_some() {
            self.last.clear();
            self.last.extend_from_slice(json);
        }
        named(event, facts)
    }

    /// The facts of an event that is the last one with another text: what stands around a string without
    /// quotes and backslashes means the same, whatever the string.
    fn known_facts(&self, json: &[u8]) -> Option<Facts> {
        let (place, facts) = self.known.as_ref()?;
        let text = json.strip_prefix(&self.last[..place.start])?;
        let text = text.strip_suffix(&self.last[place.end..])?;
        let is_plain = memchr2(b'"', b'\\', text).is_none();
        (is_plain && str::from_utf8(text).is_ok() && !text.iter().any(u8::is_ascii_control))
            .then_some(Facts { text: text.len(), ..*facts })
    }
}

#[cfg(test)]
mod tests {
    use thermograph_codec::events;

    use super::*;

    #[test]
    fn event_that_is_called_an_error_is_one() {
        for (events, status) in [
            ("event: error\ndata: out of memory\n\n", Some(502)),
            ("event: error\ndata: {\"error\":{\"code\":503}}\n\n", Some(503)),
            ("event: message_start\ndata: {}\n\n", None),
        ] {
            let event = events::first(events.as_bytes(), false).expect("an event");
            let found = inspect_event(&event).error.map(|status| status.as_u16());
            assert_eq!(found, status, "{events}");
            assert_eq!(Inspector::default().event(&event), inspect_event(&event));
            assert_eq!(error_of_event(&event).map(|status| status.as_u16()), status);
        }
    }

    #[test]
    fn facts_are_the_same_whether_an_event_is_parsed_or_known() {
        let chunk = |delta: &str, rest: &str| {
            format!(r#"{{"id":"x","choices":[{{"index":0,"delta":{delta}}}]{rest}}}"#)
        };
        let all = [
            chunk(r#"{"role":"assistant","content":""}"#, ""),
            chunk(r#"{"content":"Hello"}"#, ""),
            chunk(r#"{"content":" wörld 水"}"#, ""),
            chunk(r#"{"content":" \"quoted\""}"#, ""),
            chunk(r#"{"content":"x\\"}"#, ""),
            chunk(r#"{"content":"a","content":"b"}"#, ""),
            chunk(r#"{"content":"a","refusal":"b"}"#, ""),
            chunk(r#"{"content":"x\u0041"}"#, ""),
            chunk("{\"content\":\"a\tb\"}", ""),
            chunk("{\"content\":\"\"}", ""),
            chunk(r#"{"content":null}"#, ""),
            chunk(r#"{"content":"a"}"#, r#","usage":null"#),
            chunk(r#"{"content":"a"}"#, r#","usage":{"prompt_tokens":1,"completion_tokens":2}"#),
            chunk(r#"{"content":"a"}"#, r#","error":"x""#),
            chunk(r#"{"content":"a"}"#, ",").replace(']', ""),
            r#"{"type":"response.output_text.delta","delta":"abc"}"#.to_owned(),
            r#"{"type":"response.audio.delta","delta":"abc"}"#.to_owned(),
            r#"{"delta":"abc","text":"abc"}"#.to_owned(),
            r#"{"text":"abc"}"#.to_owned(),
            "[DONE".to_owned(),
            String::new(),
        ];
        for first in &all {
            for second in &all {
                let mut inspector = Inspector::default();
                for json in [first, second, first, second] {
                    let event = Event { place: 0..0, name: b"", data: json.as_bytes().into() };
                    let facts = inspect_event(&event);
                    assert_eq!(inspector.event(&event), facts, "{first} {second}");
                    assert_eq!(error_of_event(&event), facts.error, "{second}");
                }
            }
        }
    }

    #[test]
    fn text_alone_is_not_parsed_again() {
        let mut inspector = Inspector::default();
        let json = |text: &str| format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
        let facts =
            inspector.event(&Event { place: 0..0, name: b"", data: json("a").into_bytes().into() });
        let known = inspector.known_facts(json("other").as_bytes()).expect("known");
        assert_eq!(known, Facts { text: 5, ..facts });
        for other in ["a\"b", "\\u0041", "a\nb"] {
            assert_eq!(inspector.known_facts(json(other).as_bytes()), None, "{other}");
        }
    }
}
