//! The handler's future, watched.

use std::{
    any::Any,
    future::Future,
    mem,
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
    request::{Known, WatchedRequest},
    traced,
};
use crate::handlers::Shard;

pin_project! {
    /// Takes the time of every poll of a handler's future.
    pub struct WatchFuture<F> {
        #[pin]
        inner: F,
        request: Held,
    }

    impl<F> PinnedDrop for WatchFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            // A request whose future was never polled counts as cancelled.
            if let Held::Unpolled(known) = mem::take(this.project().request) {
                drop(WatchedRequest::begin(known));
            }
        }
    }
}

/// A request until its response head is there.
///
/// A future that waits for nothing is ready at its first poll: its request lives on the stack, and
/// is not moved with the future, which has room for the facts only.
#[derive(Default)]
enum Held {
    Unpolled(Known),
    Begun(Box<WatchedRequest>),
    /// Its response head is there.
    #[default]
    Answered,
}

/// The next step after a poll of a request.
enum Next {
    /// Another one.
    Poll,
    /// The rest of the body.
    Body(Begun),
    Nothing,
}

impl<F> WatchFuture<F> {
    /// Returns the future of a request whose work begins with the first poll.
    pub(crate) fn new(inner: F, known: Known) -> Self {
        Self { inner, request: Held::Unpolled(known) }
    }

    /// Returns the future of a request whose work began in the call that made `inner`.
    pub(crate) fn begun(inner: F, request: WatchedRequest) -> Self {
        Self { inner, request: Held::Begun(Box::new(request)) }
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
        // Written by reference, and changed in place: a response is not small.
        let mut answer = Poll::Pending;
        match mem::take(this.request) {
            Held::Unpolled(known) => {
                let (mut request, shard) = WatchedRequest::begin(known);
                match poll(&mut request, Some(shard), this.inner, cx, &mut answer) {
                    Next::Nothing => {}
                    Next::Poll => *this.request = Held::Begun(Box::new(request)),
                    Next::Body(left) => watch(&mut answer, left, request),
                }
            }
            Held::Begun(request) => *this.request = again(request, this.inner, cx, &mut answer),
            // The inner future decides what follows.
            Held::Answered => return this.inner.poll(cx).map_ok(response),
        }
        answer
    }
}

/// Polls a request that was polled before; what is to be held of it.
///
/// Not inlined, to keep the code of a first poll on few cache lines: between two requests the
/// kernel's network code evicts it from the first-level cache.
#[inline(never)]
fn again<F, R, E>(
    mut request: Box<WatchedRequest>,
    inner: Pin<&mut F>,
    cx: &mut Context<'_>,
    answer: &mut Poll<Result<Response, E>>,
) -> Held
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse + 'static,
{
    match poll(&mut request, None, inner, cx, answer) {
        Next::Poll => return Held::Begun(request),
        Next::Body(left) => watch(answer, left, *request),
        Next::Nothing => {}
    }
    Held::Answered
}

/// Polls the future of a request and takes the time.
#[inline]
fn poll<F, R, E>(
    request: &mut WatchedRequest,
    shard: Option<&'static Shard>,
    inner: Pin<&mut F>,
    cx: &mut Context<'_>,
    answer: &mut Poll<Result<Response, E>>,
) -> Next
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse + 'static,
{
    let mut left = None;
    let end = request.poll(shard, cx, |cx| {
        if let Poll::Ready(polled) = traced(cx, |cx| inner.poll(cx)) {
            *answer = Poll::Ready(polled.map(response));
            if let Poll::Ready(Ok(response)) = answer {
                left = Begun::begin(response.body_mut(), cx);
            }
        }
    });
    match (answer, left) {
        (Poll::Pending, _) => {
            request.pending(end);
            request.waits(cx.waker());
            Next::Poll
        }
        (Poll::Ready(Err(_)), _) => Next::Nothing,
        (Poll::Ready(Ok(response)), left) => {
            request.head(response.status(), response.headers(), end, left.is_none());
            let Some(left) = left else { return Next::Nothing };
            request.waits(cx.waker());
            Next::Body(left)
        }
    }
}

/// Has the rest of a response's body watched.
#[inline(never)]
fn watch<E>(answer: &mut Poll<Result<Response, E>>, left: Begun, request: WatchedRequest) {
    if let Poll::Ready(Ok(response)) = answer {
        *response.body_mut() = Body::new(WatchBody::new(left, Some(request)));
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
