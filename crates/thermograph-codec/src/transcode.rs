//! Transcoding: the reader of one codec feeds the writer of another.

use crate::{
    cbor,
    codec::Codec,
    error::{CodecError, Problem},
    json, messagepack,
    sink::Sink,
    vectors::{Gather, Vectors},
};

impl Codec {
    /// Translates a body: one value, and nothing after it. Ends when the result is longer than `limit`
    /// bytes, soon after it is.
    pub fn transcode(self, bytes: &[u8], to: Self, limit: usize) -> Result<Vec<u8>, CodecError> {
        // JSON is the longer one.
        let mut out = Vec::with_capacity(bytes.len().min(limit));
        self.append(bytes, to, None, limit, &mut out)?;
        Ok(out)
    }

    /// Appends the same value to `out` in another codec, and fails if that takes more than `limit` bytes;
    /// `vectors` is the form of the vectors in an answer, and `None` leaves lists of numbers as they are.
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
}
