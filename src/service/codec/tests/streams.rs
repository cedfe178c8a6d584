//! Streams of events, as frames.

use super::*;

pub(crate) const STREAM: &str = "data: {\"x\":\"äöü 🔥 水\"}\r\n\r\n: ping\n\nevent: e\ndata: [1,\ndata: 2]\n\n\
                      data: {\"usage\":null}\n\ndata: [DONE]\n\n";
pub(crate) const VALUES: [&str; 4] = [r#"{"x":"äöü 🔥 水"}"#, "[1,2]", r#"{"usage":null}"#, ""];

/// The frames' values as JSON; nothing may be left over.
pub(crate) fn values(mut bytes: &[u8], codec: Codec) -> Vec<String> {
    let mut values = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (value, rest) = rest.split_at(length);
        values.push(if length == 0 { String::new() } else { back(value, codec) });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame");
    values
}

#[test]
fn each_event_is_a_frame() {
    for codec in BINARY {
        let framed = frames(STREAM.as_bytes(), codec);
        assert!(framed.error.is_none());
        assert_eq!(values(&framed.bytes, codec), VALUES);
    }
}
