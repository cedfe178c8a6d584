//! The id of a request: the client's own, or a new one.

use std::{
    convert::Infallible,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use uuid::Builder;

/// The id of a request, for the log and for whoever asks about it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

/// The header of a request, and of its answer, with the id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
const LONGEST: usize = 128;

impl RequestId {
    /// A new id.
    pub(crate) fn new() -> Self {
        Self(new())
    }

    /// The id that a request has, if it is short and visible.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(REQUEST_ID).filter(|id| is_acceptable(id)).cloned().map(Self)
    }

    pub(crate) fn as_header(&self) -> &HeaderValue {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        // Both a given and a new one are ASCII.
        self.0.to_str().unwrap_or_default()
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    /// Where the layer is off, it is the client's own, or else empty.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers).unwrap_or(Self(HeaderValue::from_static(""))))
    }
}

/// Ordered by time, so that ids near each other in a log are near each other in time; the rest is
/// by chance, but no secret.
fn new() -> HeaderValue {
    let mut text = [0; 4 + uuid::fmt::Simple::LENGTH];
    text[..4].copy_from_slice(b"req_");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(now.as_millis()).unwrap_or_default();
    let mut chance = [0; 10];
    fastrand::fill(&mut chance);
    let id = Builder::from_unix_timestamp_millis(millis, &chance).into_uuid();
    id.simple().encode_lower(&mut text[4..]);
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req_"))
}

fn is_acceptable(id: &HeaderValue) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_id_is_short_and_visible() {
        assert!(is_acceptable(&HeaderValue::from_static("abc-1")));
        assert!(!is_acceptable(&HeaderValue::from_static("")));
        assert!(!is_acceptable(&HeaderValue::from_static("a b")));
        assert!(!is_acceptable(&HeaderValue::from_bytes("ä".as_bytes()).expect("a value")));
        let long = "a".repeat(LONGEST + 1);
        assert!(!is_acceptable(&HeaderValue::from_str(&long).expect("a value")));
    }

    #[test]
    fn new_ids_differ() {
        assert_ne!(new(), new());
        assert!(is_acceptable(&new()));
    }
}
