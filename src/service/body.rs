//! Request bodies: read whole, within bounds of one and of all.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use bytesize::ByteSize;
use http_body_util::BodyExt as _;

use super::{
    engine::admission::{Admission, Reservation},
    error::ApiError,
};

/// Reads request bodies.
pub(crate) struct Bodies {
    /// Largest body.
    limit: ByteSize,
    /// Bytes of all bodies together.
    memory: Admission,
}

/// A body, and its place in the memory that bodies may take.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    _memory: Reservation,
}

impl Bodies {
    /// Bodies of the largest size that may be in memory at a time.
    const AT_A_TIME: usize = 64;
    /// How much more than the limit is read, and forgotten, for the client to see the answer: it
    /// looks for one only once it has sent all, and a closed connection would hide it.
    const FORGOTTEN: usize = 64 << 20;

    pub(crate) fn new(limit: ByteSize) -> Self {
        let memory = Admission::new(as_usize(limit).saturating_mul(Self::AT_A_TIME));
        Self { limit, memory }
    }

    /// Reads a body; `declared` is its length as the client has announced it.
    pub(crate) async fn read(
        &self,
        body: Body,
        declared: Option<u64>,
    ) -> Result<ReadBody, ApiError> {
        let limit = as_usize(self.limit);
        let expected =
            declared.map_or(limit, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if expected > limit {
            forget(body).await;
            return Err(ApiError::too_large(self.limit));
        }
        let Some(memory) = self.memory.reserve(expected) else {
            forget(body).await;
            return Err(ApiError::overloaded("request bodies fill the memory that they may take"));
        };
        let bytes = self.collect(body, declared.map_or(0, |_| expected)).await?;
        Ok(ReadBody { bytes, _memory: memory })
    }

    async fn collect(&self, mut body: Body, expected: usize) -> Result<Bytes, ApiError> {
        let mut bytes = BytesMut::with_capacity(expected);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                ApiError::bad_request(None, format!("the body could not be read: {error}"))
            })?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > as_usize(self.limit) {
                forget(body).await;
                return Err(ApiError::too_large(self.limit));
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes.freeze())
    }
}

/// Reads on and forgets, up to a bound.
async fn forget(mut body: Body) {
    let mut read = 0;
    while read < Bodies::FORGOTTEN {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
}

fn as_usize(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
