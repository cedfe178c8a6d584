//! The usage in a stream whose client has not asked for it: taken out of what is passed on.

use std::{ops::Range, sync::LazyLock};

use bytes::{Bytes, BytesMut};
use memchr::memmem::FinderRev;

use crate::usage::Facts;

/// Its name with quotes: within a string of JSON they would have a backslash before them.
static NAME: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"\"usage\""));

/// Place of the usage in an event: all of the event if it is for the usage alone, else a
/// `"usage":null`.
pub(super) fn cut(events: &[u8], place: Range<usize>, facts: &Facts) -> Option<Range<usize>> {
    if facts.is_usage_event() {
        return Some(place);
    }
    if !facts.has_null_usage {
        return None;
    }
    let event = &events[place.clone()];
    let name = NAME.rfind(event)?;
    let after = &event[name + NAME.needle().len()..];
    let rest = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let mut end = event.len() - rest.strip_prefix(b"null")?.len();
    let mut start = event[..name].trim_ascii_end().len();
    if event[..start].ends_with(b",") {
        start -= 1;
    } else if let Some(next) = event[end..].trim_ascii_start().strip_prefix(b",") {
        end = event.len() - next.len();
    }
    Some(place.start + start..place.start + end)
}

/// Bytes without some parts; as long as there are none, nothing is copied.
pub(super) struct Remainder<'a> {
    bytes: &'a Bytes,
    /// Bytes before `done` without the parts that were left out.
    kept: BytesMut,
    /// Number of bytes that were looked at.
    done: usize,
}

impl<'a> Remainder<'a> {
    pub(super) fn of(bytes: &'a Bytes) -> Self {
        Self { bytes, kept: BytesMut::new(), done: 0 }
    }

    /// Leaves out a part that stands behind those before.
    pub(super) fn leave_out(&mut self, part: Range<usize>) {
        if self.kept.is_empty() {
            self.kept.reserve(self.bytes.len());
        }
        self.kept.extend_from_slice(&self.bytes[self.done..part.start]);
        self.done = part.end;
    }

    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.done == 0 {
            return self.bytes.clone();
        }
        self.kept.extend_from_slice(&self.bytes[self.done..]);
        self.kept.freeze()
    }
}

#[cfg(test)]
mod tests {
    use thermograph_codec::events::each;

    use super::*;
    use crate::usage::Inspector;

    fn hidden(events: &'static str) -> String {
        let events = Bytes::from_static(events.as_bytes());
        let (mut inspector, mut remainder) = (Inspector::default(), Remainder::of(&events));
        for event in each(&events) {
            let facts = inspector.event(&event);
            if let Some(part) = cut(&events, event.place, &facts) {
                remainder.leave_out(part);
            }
        }
        String::from_utf8(remainder.into_bytes().to_vec()).expect("text")
    }

    #[test]
    fn usage_is_taken_out_and_nothing_else() {
        for (events, expected) in [
            ("data: {\"choices\":[{}]}\n\n", "data: {\"choices\":[{}]}\n\n"),
            (
                "data: {\"a\":1,\"usage\":null}\n\ndata: {\"usage\" : null , \"b\":2}\n\n",
                "data: {\"a\":1}\n\ndata: { \"b\":2}\n\n",
            ),
            ("data: {\"usage\":null}\n\n", "data: {}\n\n"),
            (
                "data: {\"a\":1}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n",
                "data: {\"a\":1}\n\ndata: [DONE]\n\n",
            ),
            (
                "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":1}}\n\n",
                "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":1}}\n\n",
            ),
            (
                "data: {\"content\":\"\\\"usage\\\":null\"}\n\n",
                "data: {\"content\":\"\\\"usage\\\":null\"}\n\n",
            ),
        ] {
            assert_eq!(hidden(events), expected);
        }
    }
}
