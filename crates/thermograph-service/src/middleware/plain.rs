//! Answers as axum has them, whatever a layer has made of their bodies: a layer that may be off has
//! to give the same type in both cases.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{BoxError, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Makes bodies axum's; those that are already stay as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainBodies;

/// What [`PlainBodies`] puts around a service.
#[derive(Clone, Debug)]
pub struct WithPlainBodies<S> {
    inner: S,
}

pin_project! {
    /// The answer of a [`WithPlainBodies`].
    pub struct Plain<F> {
        #[pin]
        inner: F,
    }
}

impl<S> Layer<S> for PlainBodies {
    type Service = WithPlainBodies<S>;

    fn layer(&self, inner: S) -> WithPlainBodies<S> {
        WithPlainBodies { inner }
    }
}

impl<S, B> Service<Request> for WithPlainBodies<S>
where
    S: Service<Request, Response = Response<B>>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Plain<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Plain<S::Future> {
        Plain { inner: self.inner.call(request) }
    }
}

impl<F, B, E> Future for Plain<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.project().inner.poll(context))?;
        Poll::Ready(Ok(answer.map(Body::new)))
    }
}
