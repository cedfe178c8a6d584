//! Streams of events, as frames.

use super::*;
use crate::testing::{STREAM, VALUES, values};

#[test]
fn each_event_is_a_frame() {
    for codec in BINARY {
        let framed = frames(STREAM.as_bytes(), codec);
        assert!(framed.error.is_none());
        assert_eq!(values(&framed.bytes, codec), VALUES);
    }
}
