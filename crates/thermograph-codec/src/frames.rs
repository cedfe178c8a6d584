//! Streams of values in the binary codecs: what server-sent events are in JSON.
//!
//! A frame is the length of a value, four bytes with the highest first, and the value: an event's data.
//! A frame of length 0 stands for `data: [DONE]`, so that a stream that has ended is told from one that
//! broke off. Comments, and events' names, are left out.

use bytes::Bytes;
use thiserror::Error;

use crate::{
    codec::Codec,
    error::CodecError,
    events::{self, Events, Taken},
};

/// Frames of events, and the error that ended them.
#[derive(Debug, Default)]
pub struct Framed {
    /// Frames of the events before the first that has none.
    pub bytes: Vec<u8>,
    /// Reason why the stream cannot go on after these frames; `None` if it can.
    pub error: Option<FrameError>,
}

/// Reason why an event has no frame.
#[derive(Debug, Error)]
pub enum FrameError {
    /// Its data is not JSON, or has no form in the codec.
    #[error("an event of the upstream is not understood: {0}")]
    Event(CodecError),
    /// It is longer than events may be.
    #[error("an event is too long")]
    TooLong,
}

/// Frames of whole server-sent events, whose data is JSON.
pub fn frames(events: &[u8], codec: Codec) -> Framed {
    let mut bytes = Vec::with_capacity(events.len());
    for event in events::each(events) {
        if event.is_done() {
            bytes.extend_from_slice(&0_u32.to_be_bytes());
            continue;
        }
        if let Err(error) = append_frame(&event.data, codec, &mut bytes) {
            return Framed { bytes, error: Some(FrameError::Event(error)) };
        }
    }
    Framed { bytes, error: None }
}

/// Frames of events that come in pieces, cut anywhere.
pub fn frames_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, codec: Codec) -> Framed {
    let mut events = Events::default();
    let mut all = Framed::default();
    for piece in pieces {
        let taken = events.take(Bytes::copy_from_slice(piece));
        let Framed { bytes, error } = frames_of_taken(&taken, codec);
        all.bytes.extend_from_slice(&bytes);
        if error.is_some() {
            return Framed { error, ..all };
        }
    }
    let Framed { bytes, error } = frames_of_taken(&events.rest(), codec);
    all.bytes.extend_from_slice(&bytes);
    Framed { error, ..all }
}

/// Frames of events, or an error if one is too long for a frame.
pub fn frames_of_taken(taken: &Taken, codec: Codec) -> Framed {
    if taken.long.is_empty() {
        return frames(&taken.whole, codec);
    }
    Framed { bytes: Vec::new(), error: Some(FrameError::TooLong) }
}

/// Writes the frame of a value, which is JSON, to the end of `out`.
pub fn append_frame(json: &[u8], codec: Codec, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    // An event is far shorter than what a length can say.
    if let Err(error) = Codec::Json.append(json, codec, None, Events::LONGEST * 4, out) {
        out.truncate(at);
        return Err(error);
    }
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}
