//! A bound on the time of a request.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio::time;

use crate::service::error::ApiError;

/// Drops a handler that takes longer than `limit`, and with it what the engine does for it.
pub(super) async fn limit(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    time::timeout(limit, next.run(request)).await.map_err(|_| ApiError::timeout(limit))
}
