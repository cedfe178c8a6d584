//! A handler that panicked is a 500; the panic hook has said where.

use std::any::Any;

use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::{CatchPanic, CatchPanicLayer};
use tower_layer::Layer;

use crate::error::ApiError;

/// Makes a handler that panicked a 500. The panic's own words stay in the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanics;

type Answer = fn(Box<dyn Any + Send>) -> Response;

impl<S> Layer<S> for CatchPanics {
    type Service = CatchPanic<S, Answer>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanicLayer::custom(answer as Answer).layer(inner)
    }
}

fn answer(_: Box<dyn Any + Send>) -> Response {
    ApiError::internal("the handler panicked").into_response()
}
