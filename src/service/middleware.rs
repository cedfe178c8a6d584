//! The middleware that belongs to the service: few, since each one costs.
//!
//! Whoever has layers of their own puts all on at once, in a `tower::ServiceBuilder`: axum boxes the
//! future of every request for each call of `Router::layer`.

mod panic;
mod request_id;

use std::any::Any;

use axum::response::Response;
use tower_http::catch_panic::CatchPanicLayer;

pub use super::codec::Codecs;
pub use request_id::RequestIds;
pub(crate) use request_id::{HEADER as REQUEST_ID, RequestId};

/// Makes a handler that panicked a 500.
pub type CatchPanics = CatchPanicLayer<fn(Box<dyn Any + Send>) -> Response>;

/// Around the handler, so that a bug in one is a 500 and not a closed connection.
pub fn catch_panics() -> CatchPanics {
    CatchPanicLayer::custom(panic::answer)
}
