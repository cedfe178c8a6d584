//! The response body of a watched service.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::request::WatchedRequest;

pin_project! {
    /// Takes the time of every poll of a response body: a stream works outside the handler's
    /// future, and may block there.
    pub struct WatchBody<B> {
        #[pin]
        inner: B,
        // None once the body has ended.
        request: Option<WatchedRequest>,
    }
}

impl<B: Body> WatchBody<B> {
    pub(crate) fn new(inner: B, request: Option<WatchedRequest>) -> Self {
        let mut this = Self { inner, request };
        if this.inner.is_end_stream() {
            this.end();
        }
        this
    }

    fn end(&mut self) {
        end(&mut self.request);
    }
}

/// Ends the request and lets go of it.
fn end(request: &mut Option<WatchedRequest>) {
    if let Some(mut request) = request.take() {
        request.end();
    }
}

impl<B: Body> Body for WatchBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let poll = this.request.as_ref().map(WatchedRequest::poll);
        let frame = this.inner.as_mut().poll_frame(cx);
        drop(poll);
        // hyper does not poll a body again whose last frame says that it is the last.
        let ended = match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => this.inner.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if ended {
            end(this.request);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
