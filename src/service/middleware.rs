//! The middleware that belongs to the service, all on this page: few, since each one costs.

mod panic;
mod request_id;

use axum::{Router, middleware::from_fn};
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use request_id::RequestId;

/// Gives every request and its answer an id, `x-request-id`: the client's own, or a new one.
///
/// Outermost: answers of the layers inside have an id too.
pub fn with_request_ids(router: Router) -> Router {
    router.layer(from_fn(request_id::set))
}

/// Puts the middleware around the routes, all of it at once: axum boxes the future of every
/// request for each call of `Router::layer`.
pub(crate) fn stack(routes: Router) -> Router {
    // Around the handler, so that a bug in one is a 500 and not a closed connection.
    routes.layer(CatchPanicLayer::custom(panic::answer))
}
