//! The handler's future, watched.

use std::{
    any::Any,
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
    R: IntoResponse + 'static,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(request) = this.request else {
            // The future has returned its response already; the inner one decides what follows.
            return this.inner.poll(cx).map_ok(response);
        };
        // Written by reference, and changed in place: a response is not small.
        let mut answer = Poll::Pending;
        let mut left = None;
        let end = request.poll(cx, |cx| {
            if let Poll::Ready(polled) = traced(cx, |cx| this.inner.poll(cx)) {
                answer = Poll::Ready(polled.map(response));
                if let Poll::Ready(Ok(response)) = &mut answer {
                    left = Begun::begin(response.body_mut(), cx);
                }
            }
        });
        match &mut answer {
            Poll::Pending => {
                request.pending(end);
                request.waits(cx.waker());
                return Poll::Pending;
            }
            Poll::Ready(Err(_)) => {}
            Poll::Ready(Ok(response)) => {
                request.head(response.status(), response.headers(), end);
                match left {
                    None => {
                        request.end_of_body(end);
                        *this.request = None;
                    }
                    Some(left) => {
                        request.waits(cx.waker());
                        *response.body_mut() = Body::new(WatchBody::new(left, this.request.take()));
                    }
                }
            }
        }
        answer
    }
}

/// The response that an answer makes. One that is a response already is left as it is, which saves
/// copies of it.
#[inline]
fn response<R: IntoResponse + 'static>(answer: R) -> Response {
    let mut answer = Some(answer);
    let response = <dyn Any>::downcast_mut::<Option<Response>>(&mut answer).and_then(Option::take);
    // Either the response was taken, or the answer is still there: the default is never made.
    response.or_else(|| answer.map(IntoResponse::into_response)).unwrap_or_default()
}
