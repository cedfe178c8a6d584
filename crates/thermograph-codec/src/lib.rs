//! The form of bodies: JSON, MessagePack or CBOR.
//!
//! Inside, everything speaks JSON; the edge translates. A request's body becomes JSON before anybody
//! looks at it, and an answer is translated on its way out, by a layer of the middleware. Nothing is built
//! in between: a reader tells a writer what it finds. Vectors of the local engine are the exception: they are
//! written in the codec that is asked for, since that is the hot spot ([`Embeddings`]).
//!
//! | in JSON | in MessagePack | in CBOR |
//! |---|---|---|
//! | `null`, `true`, text, list, map | the same | the same |
//! | integer of 64 bits | the same, as short as it can be | the same |
//! | any other number | float 64: the nearest | the same |
//! | a vector, as numbers or base64 | bin: little-endian float 32 | tag 85, byte string |
//!
//! The other way, bytes become base64 text, a float 32 becomes the shortest decimal that is it, and
//! CBOR's tags are passed over for what they tag. What has no form in JSON is refused, with its place:
//! keys that are no text, NaN and infinities, integers of more than 64 bits, extension types. Keys keep
//! their order, and may be there twice, as in JSON.
//!
//! ```
//! use thermograph_codec::codec::Codec;
//!
//! let json = br#"{"model":"m","input":["a",1.5]}"#;
//! let packed = Codec::Json.transcode(json, Codec::MessagePack, usize::MAX)?;
//! assert!(packed.len() < json.len());
//! assert_eq!(Codec::MessagePack.transcode(&packed, Codec::Json, usize::MAX)?, json);
//! # Ok::<(), thermograph_codec::codec::CodecError>(())
//! ```
//!
//! # Modules, from the bottom up
//!
//! - `accept`, `error`, `events`, `json`, `lengths`, `sink`, `testing`, `vectors`: no module is
//!   below these.
//! - `cbor`, `frames`, `messagepack`: the binary codecs, and streams of values.
//! - `embeddings`: vectors, packed.

#![forbid(unsafe_code)]

mod accept;
mod cbor;
mod embeddings;
mod error;
pub mod events;
mod frames;
mod json;
mod lengths;
mod messagepack;
mod sink;
#[cfg(any(test, feature = "test-util"))]
#[doc(hidden)]
pub mod testing;
#[cfg(test)]
pub mod tests;
mod vectors;

use http::{HeaderMap, header};

pub use self::frames::frames_of_taken;
pub use self::{
    embeddings::{Embeddings, Form},
    error::{CodecError, UnknownMediaType},
    frames::{FrameError, Framed, append_frame, frames, frames_of},
    vectors::Vectors,
};
use {error::Problem, sink::Sink, vectors::Gather};

/// What a body is written in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Codec {
    /// JSON: what everything speaks.
    #[default]
    Json,
    /// MessagePack.
    MessagePack,
    /// CBOR.
    Cbor,
}

/// The deepest nesting that is read.
const DEPTH: usize = 128;

impl Codec {
    /// Every codec, the preferred first.
    pub const ALL: [Self; 3] = [Self::Json, Self::MessagePack, Self::Cbor];
    /// The media types that are offered, in words.
    pub const OFFERED: &str =
        "application/json, application/msgpack (also x-msgpack and vnd.msgpack), application/cbor";

    /// The media type of its answers.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
            Self::Cbor => "application/cbor",
        }
    }

    /// The media type of its streams: each value has its length before it.
    pub fn stream_media_type(self) -> &'static str {
        match self {
            Self::Json => "text/event-stream",
            Self::MessagePack => "application/msgpack; framing=length-delimited",
            Self::Cbor => "application/cbor; framing=length-delimited",
        }
    }

    /// The codec of a media type, which has no parameters.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        let is = |name: &&str| media_type.eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(|codec| codec.names().iter().any(is))
    }

    /// Translates a body: one value, and nothing after it. Ends when the result is longer than `limit`
    /// bytes, soon after it is.
    pub fn transcode(self, bytes: &[u8], to: Self, limit: usize) -> Result<Vec<u8>, CodecError> {
        // JSON is the longer one.
        let mut out = Vec::with_capacity(bytes.len().min(limit));
        self.append(bytes, to, None, limit, &mut out)?;
        Ok(out)
    }

    /// The codec of a request's body.
    pub fn of_request(headers: &HeaderMap) -> Result<Self, UnknownMediaType> {
        let Some(found) = headers.get(header::CONTENT_TYPE) else { return Ok(Self::Json) };
        let found = found.to_str().unwrap_or_default();
        let essence = found.split(';').next().unwrap_or_default().trim();
        Self::of_media_type(essence).ok_or_else(|| UnknownMediaType(found.to_owned()))
    }

    /// The codec that its client wants of an answer; none where it takes nothing of what there is.
    pub fn of_answer(headers: &HeaderMap) -> Option<Self> {
        accept::choose(headers)
    }

    /// Writes the same value to the end of `out`, with vectors in it as they are wanted.
    pub fn append(
        self,
        bytes: &[u8],
        to: Self,
        vectors: Option<Vectors>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        match to {
            Self::Json => self.tell(bytes, vectors, limit, json::Writer::new(out)),
            Self::MessagePack => self.tell(bytes, vectors, limit, messagepack::Writer::new(out)),
            Self::Cbor => self.tell(bytes, vectors, limit, cbor::Writer::new(out)),
        }
    }

    fn tell(
        self,
        bytes: &[u8],
        vectors: Option<Vectors>,
        limit: usize,
        mut to: impl Sink,
    ) -> Result<(), CodecError> {
        let limit = limit.saturating_add(to.written());
        match vectors {
            None => self.read(bytes, limit, &mut to)?,
            Some(form) => self.read(bytes, limit, &mut Gather::new(form, &mut to))?,
        }
        if to.written() > limit { Err(Problem::TooLarge.into()) } else { Ok(()) }
    }

    fn read(self, bytes: &[u8], limit: usize, sink: &mut impl Sink) -> Result<(), CodecError> {
        match self {
            Self::Json => json::read(bytes, limit, sink),
            Self::MessagePack => messagepack::read(bytes, limit, sink),
            Self::Cbor => cbor::read(bytes, limit, sink),
        }
    }

    /// What its media type is called.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["application/json"],
            Self::MessagePack => {
                &["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"]
            }
            Self::Cbor => &["application/cbor"],
        }
    }
}
