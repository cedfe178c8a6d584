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
    request::WatchedRequest,
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
        let Some(request) = this.request else {
            // The future has returned its response already; the inner one decides what follows.
            return this.inner.poll(cx).map_ok(IntoResponse::into_response);
        };
        // Written by reference: returned by value, the response would be copied even while pending.
        let mut answer = None;
        let end = request.poll(cx, |cx| {
            if let Poll::Ready(polled) = traced(cx, |cx| this.inner.poll(cx)) {
                answer = Some(polled.map(|answer| {
                    let mut response = answer.into_response();
                    let left = Begun::begin(response.body_mut(), cx);
                    (response, left)
                }));
            }
        });
        let Some(answer) = answer else {
            request.pending(end);
            request.waits(cx.waker());
            return Poll::Pending;
        };
        let (mut response, left) = answer?;
        request.head(response.status(), response.headers(), end);
        match left {
            None => {
                request.end(end);
                *this.request = None;
            }
            Some(left) => {
                request.waits(cx.waker());
                *response.body_mut() = Body::new(WatchBody::new(left, this.request.take()));
            }
        }
        Poll::Ready(Ok(response))
    }
}
