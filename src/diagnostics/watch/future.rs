//! The handler's future, watched.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;

use super::{
    body::{Begun, WatchBody},
    poll::Poll as WatchedPoll,
    request::WatchedRequest,
    row::RowPoll,
    traced,
};

pin_project! {
    /// Takes the time of every poll of a handler's future.
    pub struct WatchFuture<F> {
        #[pin]
        inner: F,
        // None once the response head is there.
        request: Option<WatchedRequest>,
    }
}

impl<F> WatchFuture<F> {
    pub(crate) fn new(inner: F, request: WatchedRequest) -> Self {
        Self { inner, request: Some(request) }
    }
}

impl<F, R, E> Future for WatchFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let poll = this.request.as_mut().map(WatchedRequest::poll);
        let shown = this.request.as_mut().and_then(|request| request.show(cx.waker()));
        let waker = shown.as_ref().map_or(cx.waker(), RowPoll::waker);
        let inner_cx = &mut Context::from_waker(waker);
        let Poll::Ready(answer) = traced(inner_cx, |cx| this.inner.poll(cx)) else {
            drop(shown);
            if let Some((request, poll)) = this.request.as_mut().zip(poll) {
                request.pending(poll.end());
                request.waits(cx.waker());
            }
            return Poll::Pending;
        };
        // An error: the guard ends the poll.
        let mut response = answer?.into_response();
        let left = Begun::begin(response.body_mut(), inner_cx);
        drop(shown);
        let end = poll.map(WatchedPoll::end);
        if let Some((mut request, end)) = this.request.take().zip(end) {
            request.head(response.status(), response.headers(), end);
            match left {
                None => request.end(end),
                Some(left) => {
                    request.waits(cx.waker());
                    *response.body_mut() = Body::new(WatchBody::new(left, Some(request)));
                }
            }
        }
        Poll::Ready(Ok(response))
    }
}
