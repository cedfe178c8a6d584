//! The middleware that belongs to the service, all on this page: few, since each one costs.

mod panic;
mod request_id;
mod timeout;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
};
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use request_id::RequestId;

use super::Config;

/// Puts the middleware around the routes, the innermost first.
pub(crate) fn stack(routes: Router, config: &Config) -> Router {
    routes
        // Innermost: what is cut off here is the handler and nothing else.
        .layer(from_fn_with_state(config.request_timeout, timeout::limit))
        // Around the handler, so that a bug in one is a 500 and not a closed connection.
        .layer(CatchPanicLayer::custom(panic::answer))
        // Outermost: every answer has an id, those of the layers above too.
        .layer(from_fn(request_id::set))
}
