//! An id for every request, in its answer and its log line: the client's own, or a new one.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{FromRequestParts, Request},
    response::Response,
};
use http::{HeaderName, HeaderValue, request::Parts};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use uuid::Builder;

use crate::service::error::ApiError;

/// Gives every request and its answer an id, `x-request-id`: the client's own, or a new one.
///
/// Outermost: answers of the layers inside have an id too, and what they show of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestIds;

/// What [`RequestIds`] puts around a service.
#[derive(Clone, Debug)]
pub struct WithIds<S> {
    inner: S,
}

pin_project! {
    /// The answer of a [`WithIds`].
    pub struct Answered<F> {
        #[pin]
        inner: F,
        id: HeaderValue,
    }
}

/// The id of a request, for the log and for whoever asks about it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
const LONGEST: usize = 128;

impl<S> Layer<S> for RequestIds {
    type Service = WithIds<S>;

    fn layer(&self, inner: S) -> WithIds<S> {
        WithIds { inner }
    }
}

impl<S: Service<Request, Response = Response<B>>, B> Service<Request> for WithIds<S> {
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Answered<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Answered<S::Future> {
        let given = request.headers().get(HEADER).filter(|id| is_acceptable(id));
        let id = given.cloned().unwrap_or_else(new);
        // For whoever is inside, and in place of one that was not taken.
        request.headers_mut().insert(HEADER, id.clone());
        Answered { inner: self.inner.call(request), id }
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for Answered<F> {
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        if let Some(message) = response.extensions().get().and_then(ApiError::failure) {
            let request_id = this.id.to_str().unwrap_or_default();
            let status = response.status().as_u16();
            tracing::warn!(request_id, status, message, "request failed");
        }
        response.headers_mut().insert(HEADER, this.id.clone());
        Poll::Ready(Ok(response))
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    /// Where the layer is off, it is the client's own, or else empty.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts.headers.get(HEADER).filter(|id| is_acceptable(id)).cloned();
        Ok(Self(id.unwrap_or(HeaderValue::from_static(""))))
    }
}

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        // Both a given and a new one are ASCII.
        self.0.to_str().unwrap_or_default()
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
