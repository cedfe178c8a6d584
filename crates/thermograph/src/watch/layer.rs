//! The Tower layer and its service.

use std::{
    any::TypeId,
    panic::Location,
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
    request::{Known, WatchedRequest},
};
use crate::handlers::{Hint, Ledger};

/// Writes down what each handler costs; made by [`Thermograph::layer`].
///
/// The handler is the method and axum's matched path, so the layer belongs on the router
/// ([`axum::Router::layer`]); around it, where no path is matched yet, handlers cannot be told apart.
/// An RPC (gRPC, gRPC-Web, Connect) has the path of its method, and requests that match no route are
/// told apart by the fallback or nested service that they come to. Methods that HTTP does not define
/// are shown as `_OTHER`. An app can name the work of a request itself: [`label::name_request`].
///
/// [`Thermograph::layer`]: crate::Thermograph::layer
/// [`label::name_request`]: crate::label::name_request
#[derive(Clone, Copy, Debug)]
pub struct WatchLayer {
    ledger: &'static Ledger,
    /// Where it was made: tokio-console shows it beside each request.
    place: &'static Location<'static>,
}

/// A service that is watched; made by [`WatchLayer`].
#[derive(Clone, Debug)]
pub struct Watch<S> {
    inner: S,
    ledger: &'static Ledger,
    hint: Hint,
    place: &'static Location<'static>,
}

impl WatchLayer {
    /// A layer that writes to `ledger`.
    #[track_caller]
    pub fn new(ledger: &'static Ledger) -> Self {
        Self { ledger, place: Location::caller() }
    }
}

impl<S> Layer<S> for WatchLayer {
    type Service = Watch<S>;

    fn layer(&self, inner: S) -> Watch<S> {
        Watch { inner, ledger: self.ledger, hint: self.ledger.hint(), place: self.place }
    }
}

impl<S, B> Service<Request<B>> for Watch<S>
where
    S: Service<Request<B>> + 'static,
    S::Response: IntoResponse + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = WatchFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let known = Known::of(self.ledger, self.hint, self.place, &request);
        if is_lazy::<S>() {
            return WatchFuture::new(self.inner.call(request), known);
        }
        let (mut watched, _) = WatchedRequest::begin(known);
        // What `call` itself does, before it hands back a future, counts too.
        let future = watched.call(|| self.inner.call(request));
        WatchFuture::begun(future, watched)
    }
}

/// Whether the service is known to do nothing before its future is polled, as axum's routes: two
/// looks at the clock less. Known at compile time.
#[inline]
fn is_lazy<S: 'static>() -> bool {
    TypeId::of::<S>() == TypeId::of::<Route>()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future, pin::Pin, task::Waker};

    use axum::{
        Router,
        body::{Body, HttpBody},
        routing::get,
    };
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::BodyExt as _;
    use tower::{layer::util::Stack, service_fn};
    use tower_layer::layer_fn;

    use super::*;
    use crate::handlers::HandlerRow;

    /// A stream of so many frames.
    struct Frames(usize);

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            let left = self.0.checked_sub(1);
            self.0 = left.unwrap_or(0);
            Poll::Ready(left.map(|_| Ok(Frame::data("frame".into()))))
        }
    }

    /// An app that is watched, and its ledger.
    fn app() -> (Router, &'static Ledger) {
        let ledger = Ledger::leak(8);
        let app = Router::new()
            .route("/text", get(|| async { "hello" }))
            .route("/stream", get(|| async { Body::new(Frames(3)) }))
            .route("/never", get(future::pending::<()>));
        (app.layer(WatchLayer::new(ledger)).with_state(()), ledger)
    }

    fn ask(app: &Router, path: &str) -> impl Future<Output = Response> + use<> {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = app.clone().into_service::<Body>().call(request);
        async { answer.await.expect("infallible") }
    }

    fn row(ledger: &'static Ledger) -> HandlerRow {
        let mut rows = ledger.report().handlers;
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    #[tokio::test]
    async fn a_text_is_over_with_the_handler_s_own_poll() {
        let (app, ledger) = app();
        let response = ask(&app, "/text").await;
        let seen = row(ledger);
        assert_eq!((&*seen.method, &*seen.route, seen.requests), ("GET", "/text", 1));
        assert_eq!((seen.polls, seen.in_flight, seen.cut), (1, 0, 0));
        assert!(seen.total_ms.max >= seen.head_ms.max && seen.head_ms.max > 0.0, "{seen:?}");
        assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "hello");
        assert_eq!(row(ledger).polls, 1);
    }

    #[tokio::test]
    async fn a_stream_is_watched_to_its_end() {
        let (app, ledger) = app();
        let response = ask(&app, "/stream").await;
        let seen = row(ledger);
        assert_eq!((seen.requests, seen.in_flight, seen.polls), (1, 1, 1));
        let whole = response.into_body().collect().await.expect("whole").to_bytes();
        assert_eq!(whole.len(), 3 * "frame".len());
        let seen = row(ledger);
        // The handler's, the frames', and the one that found the end.
        assert_eq!((seen.in_flight, seen.polls, seen.cut), (0, 5, 0));
        assert!(seen.total_ms.max > seen.head_ms.max, "{seen:?}");
    }

    #[tokio::test]
    async fn who_leaves_is_counted_by_how_far_it_came() {
        let (app, ledger) = app();
        drop(ask(&app, "/stream").await.into_body().frame().await);
        let seen = row(ledger);
        assert_eq!((seen.requests, seen.in_flight, seen.cut, seen.cancelled), (1, 0, 1, 0));

        let (app, ledger) = self::app();
        let mut never = Box::pin(ask(&app, "/never"));
        assert!(never.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!((row(ledger).in_flight, row(ledger).polls), (1, 1));
        drop(never);
        let seen = row(ledger);
        assert_eq!((seen.requests, seen.in_flight, seen.cut, seen.cancelled), (0, 0, 0, 1));
    }

    #[tokio::test]
    async fn request_that_nobody_has_polled_is_counted() {
        let ledger = Ledger::leak(8);
        let drops = layer_fn(|watch: Watch<Route>| {
            service_fn(move |request: Request<Body>| {
                drop(watch.clone().call(request));
                future::ready(Ok::<_, Infallible>("dropped"))
            })
        });
        let app = Router::new().route("/", get(|| async { "hello" }));
        let app = app.layer(Stack::new(WatchLayer::new(ledger), drops)).with_state(());
        ask(&app, "/").await;
        let seen = row(ledger);
        assert_eq!((seen.polls, seen.in_flight, seen.cancelled), (0, 0, 1));
    }
}
