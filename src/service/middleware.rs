//! The middleware that belongs to the service, all on this page: few, since each one costs.

mod panic;
mod request_id;
mod timeout;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use request_id::RequestId;

use super::Config;

/// Gives every request and its answer an id, `x-request-id`: the client's own, or a new one.
///
/// Outermost: answers of the layers inside have an id too.
pub fn with_request_ids(router: Router) -> Router {
    router.layer(from_fn(request_id::set))
}

/// Puts the middleware around the routes, all of it at once: axum boxes the future of every
/// request for each call of `Router::layer`.
pub(crate) fn stack(routes: Router, config: &Config) -> Router {
    let layers = ServiceBuilder::new()
        // Around the handler, so that a bug in one is a 500 and not a closed connection.
        .layer(CatchPanicLayer::custom(panic::answer))
        // Innermost: what is cut off here is the handler and nothing else.
        .layer(from_fn_with_state(config.request_timeout, timeout::limit));
    routes.layer(layers)
}
