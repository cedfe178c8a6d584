//! The Tower layer and its service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{WatchBody, WatchFuture, ledger::Ledger, request::WatchedRequest};

/// Writes down what each handler costs; made by [`Thermograph::layer`].
///
/// The handler is the method and axum's matched path, so the layer belongs on the router
/// ([`axum::Router::layer`]); around it, where no path is matched yet, all is one row.
///
/// [`Thermograph::layer`]: crate::diagnostics::Thermograph::layer
#[derive(Clone, Debug)]
pub struct WatchLayer {
    ledger: Arc<Ledger>,
}

/// A service that is watched; made by [`WatchLayer`].
#[derive(Clone, Debug)]
pub struct Watch<S> {
    inner: S,
    ledger: Arc<Ledger>,
}

impl WatchLayer {
    /// A layer that writes to `ledger`.
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger }
    }
}

impl<S> Layer<S> for WatchLayer {
    type Service = Watch<S>;

    fn layer(&self, inner: S) -> Watch<S> {
        Watch { inner, ledger: Arc::clone(&self.ledger) }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Watch<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: http_body::Body + Unpin,
{
    type Response = Response<WatchBody<ResBody>>;
    type Error = S::Error;
    type Future = WatchFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let mut watched = WatchedRequest::begin(&self.ledger, &request);
        // What `call` itself does, before it hands back a future, counts too.
        let future = watched.call(|| self.inner.call(request));
        WatchFuture::new(future, watched)
    }
}
