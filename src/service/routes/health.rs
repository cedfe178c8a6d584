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
    let upstreams = &service.inner.upstreams;
    if let Some(upstream) = upstreams.unchecked() {
        let message = format!("the upstream `{upstream}` was not checked yet");
        return Err(ApiError::unavailable(message));
    }
    match service.engine().missing() {
        // With upstreams there is something to serve also without a local model.
        Some(file) if upstreams.is_empty() => Err(ApiError::unavailable(engine::missing(file))),
        _ => Ok("ok\n"),
    }
}
