//! An id for every request, in its answer and its log line: the client's own, or a new one.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue};
use uuid::Uuid;

use crate::service::error::Failure;

/// The id of a request, for the log and for whoever asks about it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
const LONGEST: usize = 128;

/// Gives the request an id, and the answer the same.
pub(super) async fn set(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(HEADER).filter(|id| is_acceptable(id));
    let id = given.cloned().unwrap_or_else(new);
    // For layers that know nothing of the service, and in place of one that was not taken.
    request.headers_mut().insert(HEADER, id.clone());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Some(Failure(message)) = response.extensions_mut().remove() {
        let request_id = id.to_str().unwrap_or_default();
        tracing::warn!(request_id, status = response.status().as_u16(), message, "request failed");
    }
    response.headers_mut().insert(HEADER, id);
    response
}

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        // Both a given and a new one are ASCII.
        self.0.to_str().unwrap_or_default()
    }
}

/// Ordered by time, so that ids near each other in a log are near each other in time.
fn new() -> HeaderValue {
    let mut text = [0; 4 + uuid::fmt::Simple::LENGTH];
    text[..4].copy_from_slice(b"req_");
    Uuid::now_v7().simple().encode_lower(&mut text[4..]);
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
