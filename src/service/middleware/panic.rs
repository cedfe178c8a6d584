//! A handler that panicked is a 500; the panic hook has said where.

use std::any::Any;

use axum::response::{IntoResponse as _, Response};

use crate::service::error::ApiError;

/// The answer of a handler that panicked. The panic's own words stay in the log.
pub(super) fn answer(_: Box<dyn Any + Send>) -> Response {
    ApiError::internal("the handler panicked").into_response()
}
