//! Server-sent events in a stream of bytes: which of them are whole.
//!
//! What is passed on ends with an event, so that a stream that breaks off can be ended with one of
//! our own, and nobody decodes half a character.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use memchr::{memchr, memmem};

/// Keeps the beginning of an event until its end is there.
#[derive(Debug, Default)]
pub(crate) struct Events {
    held: BytesMut,
    /// An event was too long to be kept: bytes are passed on as they come.
    is_raw: bool,
    /// What was passed on does not end with an event.
    is_amid: bool,
}

impl Events {
    /// Longest event that is kept back.
    pub(crate) const LONGEST: usize = 1 << 20;

    /// Takes in bytes, and gives those that can be passed on; mostly they are the same.
    pub(crate) fn take(&mut self, bytes: Bytes) -> Bytes {
        if self.is_raw {
            self.is_amid = last_end(&bytes) < bytes.len();
            return bytes;
        }
        if self.held.is_empty() {
            let end = last_end(&bytes);
            if end < bytes.len() {
                self.held.extend_from_slice(&bytes[end..]);
            }
            return self.bounded(bytes.slice(..end));
        }
        // An end may lie over the border.
        let from = self.held.len().saturating_sub(3);
        self.held.extend_from_slice(&bytes);
        let end = match last_end(&self.held[from..]) {
            0 => 0,
            end => from + end,
        };
        let whole = self.held.split_to(end).freeze();
        self.bounded(whole)
    }

    /// The rest, where the stream has ended in good order.
    pub(crate) fn rest(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// Whether what was passed on ends in the middle of an event, as far as is known: nothing can be
    /// said to the client then.
    pub(crate) fn is_amid(&self) -> bool {
        self.is_amid
    }

    /// Whether an event was too long to be kept: what is passed on is no longer whole.
    pub(crate) fn is_raw(&self) -> bool {
        self.is_raw
    }

    fn bounded(&mut self, whole: Bytes) -> Bytes {
        if self.held.len() <= Self::LONGEST {
            return whole;
        }
        (self.is_raw, self.is_amid) = (true, true);
        let mut all = BytesMut::from(whole);
        all.extend_from_slice(&self.rest());
        all.freeze()
    }
}

/// A comment that keeps a connection alive.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Headers of every stream that this server answers with.
pub(crate) fn declare(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would keep events back until a buffer of it is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// An event with this data, which may have several lines.
pub(crate) fn event(data: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(data.len() + 16);
    for line in data.split(|byte| *byte == b'\n') {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        event.extend_from_slice(b"\n");
    }
    event.extend_from_slice(b"\n");
    event.freeze()
}

/// The data of each event in `events`, the lines of one joined. Events without data are passed over.
pub(crate) fn data(events: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    parts(events).map(|(_, data)| data)
}

/// The data of the first whole event, if it is there.
pub(crate) fn first(events: &[u8]) -> Option<Cow<'_, [u8]>> {
    data(&events[..last_end(events)]).next()
}

/// Place of each event with data in `events`, and its data. Comments and events without data
/// belong to the one that follows.
pub(crate) fn parts(events: &[u8]) -> impl Iterator<Item = (Range<usize>, Cow<'_, [u8]>)> {
    let mut left = events;
    std::iter::from_fn(move || {
        let start = events.len() - left.len();
        let data = next_data(&mut left)?;
        Some((start..events.len() - left.len(), data))
    })
}

fn next_data<'a>(left: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let mut data: Option<Cow<'a, [u8]>> = None;
    while !left.is_empty() {
        let end = memchr(b'\n', left).unwrap_or(left.len());
        let line = &left[..end];
        *left = left.get(end + 1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() && data.is_some() {
            break;
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            _ => continue,
        };
        match &mut data {
            None => data = Some(Cow::Borrowed(value)),
            Some(before) => {
                let before = before.to_mut();
                before.push(b'\n');
                before.extend_from_slice(value);
            }
        }
    }
    data
}

/// Where the last whole event ends; 0 where there is none.
fn last_end(bytes: &[u8]) -> usize {
    if bytes.ends_with(b"\n\n") {
        return bytes.len();
    }
    let ends = [&b"\n\n"[..], b"\n\r\n"];
    let found = ends.iter().filter_map(|end| Some(memmem::rfind(bytes, end)? + end.len()));
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
        let passed = events.take(bytes.clone());
        assert_eq!(passed.as_ptr(), bytes.as_ptr(), "not copied");
        assert_eq!(passed, bytes);
    }

    #[test]
    fn wherever_it_is_cut_events_come_whole_and_unchanged() {
        for piece in 1..STREAM.len() {
            let mut events = Events::default();
            let mut passed = Vec::new();
            for bytes in STREAM.as_bytes().chunks(piece) {
                let whole = events.take(Bytes::copy_from_slice(bytes));
                assert!(whole.is_empty() || whole.ends_with(b"\n"), "{whole:?}");
                assert!(std::str::from_utf8(&whole).is_ok(), "{whole:?}");
                passed.extend_from_slice(&whole);
            }
            assert_eq!(passed, STREAM.as_bytes(), "{piece}");
            assert!(events.rest().is_empty());
        }
    }

    #[test]
    fn data_is_that_of_each_event() {
        let of = |events: &'static str| -> Vec<_> {
            data(events.as_bytes())
                .map(|data| String::from_utf8(data.into_owned()).expect("text"))
                .collect()
        };
        assert_eq!(of(STREAM), ["{\"x\":\"äöü 🔥 水\"}", "a", "[DONE]"]);
        assert_eq!(of("event: e\nid: 1\ndata:a\ndata:  b\ndata\n\n\n\n"), ["a\n b\n"]);
        assert_eq!(of("data: a\r\n\ndata: b\n\r\ndata: c"), ["a", "b", "c"]);
        assert_eq!(of(": ping\n\ndatabase: x\n\n"), [""; 0]);
    }

    #[test]
    fn what_breaks_off_is_kept_back() {
        let mut events = Events::default();
        assert_eq!(events.take(Bytes::from_static(b"data: a\n\ndata: {\"b")), "data: a\n\n");
        assert_eq!(events.take(Bytes::from_static(b"\"")), "");
        assert_eq!(events.rest(), "data: {\"b\"");
    }

    #[test]
    fn an_event_without_end_is_passed_on_in_the_end() {
        let mut events = Events::default();
        let long = Bytes::from(vec![b'x'; Events::LONGEST]);
        assert_eq!(events.take(long.clone()), "");
        let passed = events.take(Bytes::from_static(b"yz"));
        assert_eq!(passed.len(), Events::LONGEST + 2);
        assert!(events.is_amid());
        assert_eq!(events.take(Bytes::from_static(b"z\n\n")), "z\n\n");
        assert!(!events.is_amid());
        assert_eq!(events.take(Bytes::from_static(b"z")), "z");
        assert!(events.is_amid());
    }
}
