//! `/health/…`: for load balancers and whoever restarts what does not answer.

use axum::extract::State;

use crate::service::{Service, engine, error::ApiError};

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /health/ready`: it can serve, or 503 and why not.
pub(super) async fn ready(State(service): State<Service>) -> Result<&'static str, ApiError> {
    if service.is_draining() {
        return Err(ApiError::unavailable("the server is stopping"));
    }
    match service.engine().missing() {
        None => Ok("ok\n"),
        Some(file) => Err(ApiError::unavailable(engine::missing(file))),
    }
}
