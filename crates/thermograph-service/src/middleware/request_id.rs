//! An id for every request, in its answer and its log line: the client's own, or a new one.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{extract::Request, response::Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    error::ApiError,
    request_id::{REQUEST_ID, RequestId},
};

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
        id: RequestId,
    }
}

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
        let id = RequestId::of(request.headers()).unwrap_or_else(RequestId::new);
        // For whoever is inside, and in place of one that was not taken.
        request.headers_mut().insert(REQUEST_ID, id.as_header().clone());
        Answered { inner: self.inner.call(request), id }
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for Answered<F> {
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        if let Some(message) = response.extensions().get().and_then(ApiError::failure) {
            let request_id = this.id.as_str();
            let status = response.status().as_u16();
            tracing::warn!(request_id, status, message, "request failed");
        }
        response.headers_mut().insert(REQUEST_ID, this.id.as_header().clone());
        Poll::Ready(Ok(response))
    }
}
