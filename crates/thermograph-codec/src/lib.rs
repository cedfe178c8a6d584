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
//! use thermograph_codec::Codec;
//!
//! let json = br#"{"model":"m","input":["a",1.5]}"#;
//! let packed = Codec::Json.transcode(json, Codec::MessagePack, usize::MAX)?;
//! assert!(packed.len() < json.len());
//! assert_eq!(Codec::MessagePack.transcode(&packed, Codec::Json, usize::MAX)?, json);
//! # Ok::<(), thermograph_codec::CodecError>(())
//! ```
//!
//! # Modules, from the bottom up
//!
//! - `codec`, `events`, `lengths`: the codecs and their media types, events of streams, lengths of text.
//! - `error`: what is wrong with a body.
//! - `accept`, `sink`: the codecs that a client takes, and what values are written to.
//! - `json`, `cbor`, `messagepack`, `vectors`: readers and writers, and vectors that are packed.
//! - `transcode`: one codec into another.
//! - `embeddings`, `frames`, `testing`: vectors as answers, streams of values, documents for tests.

#![forbid(unsafe_code)]

mod accept;
mod cbor;
mod codec;
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
mod tests;
mod transcode;
mod vectors;

pub use self::{
    codec::Codec,
    embeddings::{Embeddings, Form},
    error::{CodecError, UnknownMediaType},
    frames::{FrameError, Framed, append_frame, frames, frames_of, frames_of_taken},
    vectors::Vectors,
};
