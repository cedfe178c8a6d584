//! Server-sent events in a stream of bytes: which of them are whole.
//!
//! Bytes are passed on up to the end of an event, so that a stream that breaks off can be ended with an
//! event of this server, and no client decodes half a character.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use memchr::{memchr, memmem};

/// Keeps the beginning of an event until its end is there.
#[derive(Debug, Default)]
pub struct Events {
    held: BytesMut,
    /// Part of an event that is too long to be kept has been passed on, and its end has not.
    is_amid: bool,
}

/// Bytes that can be passed on.
#[derive(Debug, Default)]
pub struct Taken {
    /// Part of an event that is too long to be kept; it stands before `whole`.
    pub long: Bytes,
    /// Whole events.
    pub whole: Bytes,
}

impl Events {
    /// Longest event that is kept back, in bytes.
    pub const LONGEST: usize = 1 << 20;
    /// Bytes at the border of two pieces in which an event may end.
    const BORDER: usize = 3;

    /// Takes in bytes, and gives those that can be passed on; mostly they are the same.
    pub fn take(&mut self, bytes: Bytes) -> Taken {
        if self.held.is_empty() {
            let end = last_end(&bytes);
            if end == bytes.len() {
                return Taken { long: Bytes::new(), whole: bytes };
            }
            self.held.extend_from_slice(&bytes[end..]);
            return Taken { long: Bytes::new(), whole: bytes.slice(..end) };
        }
        self.is_amid |= self.held.len() > Self::LONGEST;
        let mut border = self.held.len().saturating_sub(Self::BORDER);
        self.held.extend_from_slice(&bytes);
        let mut long = Bytes::new();
        if self.is_amid {
            let end = first_end(&self.held[border..]).map(|end| border + end);
            // The last bytes may be half of an end.
            let passed = end.unwrap_or(self.held.len().saturating_sub(Self::BORDER));
            long = self.held.split_to(passed).freeze();
            self.is_amid = end.is_none();
            border = 0;
        }
        if self.is_amid {
            return Taken { long, whole: Bytes::new() };
        }
        let end = match last_end(&self.held[border..]) {
            0 => 0,
            end => border + end,
        };
        Taken { long, whole: self.held.split_to(end).freeze() }
    }

    /// Takes the bytes that are still held, at the regular end of a stream.
    pub fn rest(&mut self) -> Taken {
        let rest = self.held.split().freeze();
        if std::mem::take(&mut self.is_amid) || rest.len() > Self::LONGEST {
            return Taken { long: rest, whole: Bytes::new() };
        }
        Taken { long: Bytes::new(), whole: rest }
    }

    /// Returns whether the bytes passed on end in the middle of an event: nothing can be said to the
    /// client then.
    pub fn is_amid(&self) -> bool {
        self.is_amid
    }
}

impl Taken {
    /// All bytes in a row.
    pub fn into_bytes(self) -> Bytes {
        if self.long.is_empty() {
            return self.whole;
        }
        let mut all = BytesMut::from(self.long);
        all.extend_from_slice(&self.whole);
        all.freeze()
    }
}

/// Ends of events.
const ENDS: [&[u8]; 2] = [b"\n\n", b"\n\r\n"];
/// A comment that keeps a connection alive.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Media type of streams of events.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// Headers of every stream that this server answers with.
pub fn declare(headers: &mut HeaderMap) {
    if !is_declared(headers) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would keep events back until a buffer of it is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// An event with this name, if it is not empty, and this data, which may have several lines.
pub fn event(name: &str, data: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(name.len() + data.len() + 32);
    if !name.is_empty() {
        event.extend_from_slice(b"event: ");
        event.extend_from_slice(name.as_bytes());
        event.extend_from_slice(b"\n");
    }
    for line in data.split(|byte| *byte == b'\n') {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        event.extend_from_slice(b"\n");
    }
    event.extend_from_slice(b"\n");
    event.freeze()
}

/// Returns whether an answer is declared to be a stream of events, and one that can be told apart.
pub fn is_declared(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(is_media_type)
}

/// Returns whether a media type is that of streams of events.
pub fn is_media_type(content_type: &[u8]) -> bool {
    let essence = content_type.get(..MEDIA_TYPE.len());
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()))
}

/// An event with data.
#[derive(Debug)]
pub struct Event<'a> {
    /// Its place, with comments and events without data before it.
    pub place: Range<usize>,
    /// Its name (`event: …`); empty if it has none.
    pub name: &'a [u8],
    /// Its data, the lines of it joined.
    pub data: Cow<'a, [u8]>,
}

/// Data of the last event of a stream.
const DONE: &[u8] = b"[DONE]";

impl Event<'_> {
    /// Returns whether this is the last event of a stream of OpenAI's.
    pub fn is_done(&self) -> bool {
        self.data.trim_ascii() == DONE
    }
}

/// Each event with data in `events`.
pub fn each(events: &[u8]) -> impl Iterator<Item = Event<'_>> {
    let mut left = events;
    std::iter::from_fn(move || {
        let start = events.len() - left.len();
        let (name, data) = next(&mut left)?;
        Some(Event { place: start..events.len() - left.len(), name, data })
    })
}

/// The first event, if all of it is there; the last one of a stream may have no end.
pub fn first(events: &[u8], is_all: bool) -> Option<Event<'_>> {
    let end = if is_all { events.len() } else { last_end(events) };
    each(&events[..end]).next()
}

/// Returns whether a body without a media type is a stream of events: no JSON begins like that.
pub fn is_stream(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    [&b"data:"[..], b"event:", b": ", b":\n"].iter().any(|field| body.starts_with(field))
}

fn next<'a>(left: &mut &'a [u8]) -> Option<(&'a [u8], Cow<'a, [u8]>)> {
    let mut name: &[u8] = &[];
    let mut data: Option<Cow<'a, [u8]>> = None;
    while !left.is_empty() {
        let end = memchr(b'\n', left).unwrap_or(left.len());
        let line = &left[..end];
        *left = left.get(end + 1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if data.is_some() {
                break;
            }
            name = &[];
        } else if let Some(value) = value_of(line, b"event") {
            name = value;
        } else if let Some(value) = value_of(line, b"data") {
            match &mut data {
                None => data = Some(Cow::Borrowed(value)),
                Some(before) => {
                    let before = before.to_mut();
                    before.push(b'\n');
                    before.extend_from_slice(value);
                }
            }
        }
    }
    data.map(|data| (name, data))
}

/// The value in a line, if it is of this field.
fn value_of<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(field)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// Offset of the first event's end.
fn first_end(bytes: &[u8]) -> Option<usize> {
    ENDS.iter().filter_map(|end| Some(memmem::find(bytes, end)? + end.len())).min()
}

/// Offset of the last event's end; 0 if no event ends.
fn last_end(bytes: &[u8]) -> usize {
    if bytes.ends_with(b"\n\n") {
        return bytes.len();
    }
    let found = ENDS.iter().filter_map(|end| Some(memmem::rfind(bytes, end)? + end.len()));
    found.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "data: {\"x\":\"äöü 🔥 水\"}\n\n: ping\n\ndata: a\r\n\r\ndata: [DONE]\n\n";

    #[test]
    fn whole_events_are_passed_on_as_they_are() {
        let mut events = Events::default();
        let bytes = Bytes::from_static(STREAM.as_bytes());
        let Taken { long, whole } = events.take(bytes.clone());
        assert_eq!(whole.as_ptr(), bytes.as_ptr(), "not copied");
        assert_eq!((long, whole), (Bytes::new(), bytes));
    }

    #[test]
    fn wherever_it_is_cut_events_come_whole_and_unchanged() {
        for piece in 1..STREAM.len() {
            let mut events = Events::default();
            let mut passed = Vec::new();
            for bytes in STREAM.as_bytes().chunks(piece) {
                let Taken { long, whole } = events.take(Bytes::copy_from_slice(bytes));
                assert!(long.is_empty(), "{long:?}");
                assert!(whole.is_empty() || whole.ends_with(b"\n"), "{whole:?}");
                assert!(std::str::from_utf8(&whole).is_ok(), "{whole:?}");
                passed.extend_from_slice(&whole);
            }
            assert_eq!(passed, STREAM.as_bytes(), "{piece}");
            assert!(events.rest().whole.is_empty());
        }
    }

    #[test]
    fn data_is_that_of_each_event() {
        let of = |events: &'static str| -> Vec<_> {
            each(events.as_bytes())
                .map(|event| String::from_utf8(event.data.into_owned()).expect("text"))
                .collect()
        };
        assert_eq!(of(STREAM), ["{\"x\":\"äöü 🔥 水\"}", "a", "[DONE]"]);
        assert_eq!(of("event: e\nid: 1\ndata:a\ndata:  b\ndata\n\n\n\n"), ["a\n b\n"]);
        assert_eq!(of("data: a\r\n\ndata: b\n\r\ndata: c"), ["a", "b", "c"]);
        assert_eq!(of(": ping\n\ndatabase: x\n\n"), [""; 0]);
    }

    #[test]
    fn name_is_that_of_the_event_and_of_no_other() {
        let events = "event: ping\n\ndata: a\nevent: error\n\ndata: b\n\nevent:c\r\ndata:d\r\n\r\n";
        let names: Vec<_> = each(events.as_bytes()).map(|event| event.name).collect();
        assert_eq!(names, [&b"error"[..], b"", b"c"]);
    }

    #[test]
    fn streams_are_told_from_json() {
        for stream in ["data: {}\n\n", "\n\nevent: x\n", ": ping\n\n", ":\n\ndata:1"] {
            assert!(is_stream(stream.as_bytes()), "{stream}");
        }
        for other in ["", "{\"data\": 1}", "[1]", "\"data:\"", "data", "<html>"] {
            assert!(!is_stream(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_breaks_off_is_kept_back() {
        let mut events = Events::default();
        let first = events.take(Bytes::from_static(b"data: a\n\ndata: {\"b"));
        assert_eq!(first.whole, "data: a\n\n");
        assert!(events.take(Bytes::from_static(b"\"")).whole.is_empty());
        assert_eq!(events.rest().whole, "data: {\"b\"");
    }

    #[test]
    fn event_that_is_too_long_is_passed_on_in_pieces_and_those_after_it_whole() {
        let long = [b"data: ".to_vec(), vec![b'x'; 2 * Events::LONGEST], b"\r\n\r\n".to_vec()];
        let stream = [b"data: a\n\n".to_vec(), long.concat(), b"data: b\n\ndata: c".to_vec()];
        let (before, until) = (stream[0].len(), stream[0].len() + stream[1].len());
        let stream = Bytes::from(stream.concat());
        for piece in [1000, 64 << 10, (64 << 10) + 1, Events::LONGEST + 7] {
            let (mut events, mut passed) = (Events::default(), 0);
            for at in (0..stream.len()).step_by(piece) {
                let bytes = stream.slice(at..stream.len().min(at + piece));
                let Taken { long, whole } = events.take(bytes);
                if !long.is_empty() {
                    assert!((before..until).contains(&passed), "{piece}: {passed}");
                    assert_eq!(long, stream.slice(passed..passed + long.len()));
                    passed += long.len();
                    assert_eq!(events.is_amid(), passed < until, "{piece}");
                }
                assert_eq!(whole, stream.slice(passed..passed + whole.len()));
                passed += whole.len();
            }
            assert_eq!(events.rest().whole, "data: c", "{piece}");
        }
    }

    #[test]
    fn event_without_end_is_passed_on_in_the_end() {
        let mut events = Events::default();
        events.take(Bytes::from(vec![b'x'; Events::LONGEST]));
        events.take(Bytes::from_static(b"yz"));
        assert!(!events.is_amid());
        assert_eq!(events.take(Bytes::from_static(b"z")).long.len(), Events::LONGEST);
        assert!(events.is_amid());
        assert_eq!(events.rest().long, "yzz");
    }
}
