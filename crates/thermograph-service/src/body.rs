//! Request bodies: read whole, within bounds of one and of all.

mod encoding;
mod error;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use bytesize::ByteSize;
use http_body::Body as _;
use http_body_util::BodyExt as _;

pub(crate) use self::{
    encoding::{Encoding, Undecoded},
    error::BodyError,
};
use thermograph_common::{Quota, Reservation};

/// Reads request bodies.
pub(crate) struct Bodies {
    /// Largest body.
    limit: ByteSize,
    /// Bytes of all bodies together.
    memory: Quota,
}

/// A body, and its place in the memory that bodies may take.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    memory: Reservation,
}

impl Bodies {
    /// Bodies of the largest size that may be in memory at a time.
    const AT_A_TIME: usize = 64;

    pub(crate) fn new(limit: ByteSize) -> Self {
        let memory = Quota::new(as_usize(limit).saturating_mul(Self::AT_A_TIME));
        Self { limit, memory }
    }

    /// Reads a body; `declared` is its length as the client has announced it. One that is refused
    /// is not read any further.
    pub(crate) async fn read(
        &self,
        mut body: Body,
        declared: Option<u64>,
    ) -> Result<ReadBody, BodyError> {
        let declared = declared.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let mut memory = self.memory.reserve(0).ok_or(BodyError::NoMemory)?;
        self.make_room(&mut memory, declared)?;
        let mut bytes = BytesMut::with_capacity(declared);
        while !body.is_end_stream() {
            let Some(frame) = body.frame().await else { break };
            let frame = frame.map_err(BodyError::Broken)?;
            let Some(data) = frame.data_ref() else { continue };
            self.make_room(&mut memory, bytes.len() + data.len())?;
            bytes.extend_from_slice(data);
        }
        Ok(ReadBody { bytes: bytes.freeze(), memory })
    }

    /// The same body in other bytes, which may not be more than any.
    pub(crate) fn replace(&self, body: ReadBody, bytes: Vec<u8>) -> Result<ReadBody, BodyError> {
        let ReadBody { mut memory, .. } = body;
        self.make_room(&mut memory, bytes.len())?;
        Ok(ReadBody { bytes: bytes.into(), memory })
    }

    /// Largest body.
    pub(crate) fn limit(&self) -> ByteSize {
        self.limit
    }

    fn make_room(&self, memory: &mut Reservation, length: usize) -> Result<(), BodyError> {
        if length > as_usize(self.limit) {
            return Err(BodyError::TooLarge(self.limit));
        }
        if memory.grow(length) { Ok(()) } else { Err(BodyError::NoMemory) }
    }
}

pub(crate) fn as_usize(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
