//! `x-request-id` on every answer: the client's own, or a new one.
//!
//! Not the service's: that puts the id on the request, which here is shown as it came.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue};

use super::content;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the answer the request's id.
pub(super) async fn set(request: Request, next: Next) -> Response {
    let given = request.headers().get(HEADER).cloned();
    let mut response = next.run(request).await;
    response.headers_mut().insert(HEADER, given.unwrap_or_else(new));
    response
}

fn new() -> HeaderValue {
    let id = HeaderValue::try_from(["req_", &content::id()].concat());
    id.unwrap_or(HeaderValue::from_static("req_"))
}
