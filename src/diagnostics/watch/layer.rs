//! The Tower layer and its service.

use std::{
    any::TypeId,
    task::{Context, Poll},
};

use axum::{
    response::{IntoResponse, Response},
    routing::Route,
};
use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    WatchFuture,
    ledger::{Hint, Ledger},
    request::WatchedRequest,
};

/// Writes down what each handler costs; made by [`Thermograph::layer`].
///
/// The handler is the method and axum's matched path, so the layer belongs on the router
/// ([`axum::Router::layer`]); around it, where no path is matched yet, all is one row.
///
/// [`Thermograph::layer`]: crate::diagnostics::Thermograph::layer
#[derive(Clone, Copy, Debug)]
pub struct WatchLayer {
    ledger: &'static Ledger,
}

/// A service that is watched; made by [`WatchLayer`].
#[derive(Clone, Debug)]
pub struct Watch<S> {
    inner: S,
    ledger: &'static Ledger,
    hint: Hint,
}

impl WatchLayer {
    /// A layer that writes to `ledger`.
    pub fn new(ledger: &'static Ledger) -> Self {
        Self { ledger }
    }
}

impl<S> Layer<S> for WatchLayer {
    type Service = Watch<S>;

    fn layer(&self, inner: S) -> Watch<S> {
        Watch { inner, ledger: self.ledger, hint: self.ledger.hint() }
    }
}

impl<S, B> Service<Request<B>> for Watch<S>
where
    S: Service<Request<B>> + 'static,
    S::Response: IntoResponse,
{
    type Response = Response;
    type Error = S::Error;
    type Future = WatchFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut watched = WatchedRequest::begin(self.ledger, self.hint, &request);
        // What `call` itself does, before it hands back a future, counts too.
        let future = if is_lazy::<S>() {
            self.inner.call(request)
        } else {
            watched.call(|| self.inner.call(request))
        };
        WatchFuture::new(future, watched)
    }
}

/// Whether the service is known to do nothing before its future is polled, as axum's routes: two
/// looks at the clock less. Known at compile time.
#[inline]
fn is_lazy<S: 'static>() -> bool {
    TypeId::of::<S>() == TypeId::of::<Route>()
}
