//! The future of a watched service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{WatchBody, body::Peeked, poll::Poll as WatchedPoll, request::WatchedRequest};

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
    B: Body + Unpin,
{
    type Output = Result<Response<WatchBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let poll = this.request.as_mut().map(WatchedRequest::poll);
        // Pending or an error: the guard ends the poll.
        let response = ready!(this.inner.poll(cx))?;
        let (head, body) = response.into_parts();
        let body = Peeked::new(body, cx);
        let now = poll.map(WatchedPoll::end);
        let watched = this.request.take().zip(now).map(|(mut request, now)| {
            request.head(head.status, now);
            (request, now)
        });
        Poll::Ready(Ok(Response::from_parts(head, WatchBody::new(body, watched))))
    }
}
