//! The future of a watched service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{WatchBody, request::WatchedRequest};

pin_project! {
    /// Takes the time of every poll of a handler's future.
    pub struct WatchFuture<F> {
        #[pin]
        inner: F,
        // Moves on to the body with the response.
        request: Option<WatchedRequest>,
    }
}

impl<F> WatchFuture<F> {
    pub(crate) fn new(inner: F, request: WatchedRequest) -> Self {
        Self { inner, request: Some(request) }
    }
}

impl<F, B, E> Future for WatchFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<WatchBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let poll = this.request.as_ref().map(WatchedRequest::poll);
        let result = this.inner.poll(cx);
        drop(poll);
        let response = ready!(result)?;
        let mut request = this.request.take();
        if let Some(request) = &mut request {
            request.head(response.status());
        }
        Poll::Ready(Ok(response.map(|body| WatchBody::new(body, request))))
    }
}
