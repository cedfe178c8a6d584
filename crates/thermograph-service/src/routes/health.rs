//! `/health/…`: for load balancers and whoever restarts what does not answer.

use std::sync::Arc;

use axum::extract::State;

use super::openapi;
use crate::{error::ApiError, state::AppState};

/// `GET /health/live`: the process answers.
#[utoipa::path(
    get, path = "/health/live", tag = "about",
    responses((status = 200, description = "the process answers", content_type = "text/plain")),
)]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /health/ready`: it can serve, or 503 and why not.
#[utoipa::path(
    get, path = "/health/ready", tag = "about",
    responses(
        (status = 200, description = "it can serve", content_type = "text/plain"),
        (status = 503, description = "why it cannot", body = openapi::Error),
    ),
)]
pub(super) async fn ready(State(state): State<Arc<AppState>>) -> Result<&'static str, ApiError> {
    if state.readiness.is_draining() {
        return Err(ApiError::unavailable("the server is stopping"));
    }
    if state.readiness.is_full() {
        let message = "all connections are in use (`api.max_connections`)";
        return Err(ApiError::overloaded(message));
    }
    let upstreams = &state.upstreams;
    if let Some(upstream) = upstreams.unchecked() {
        let message = format!("the upstream `{upstream}` was not checked yet");
        return Err(ApiError::unavailable(message));
    }
    let has_models = state.engine.models().next().is_some() || !upstreams.has_no_models();
    if !has_models && let Some(upstream) = upstreams.unlisted() {
        let (name, why) = (upstream.name(), upstream.why_unlisted());
        let message = format!("no models: the upstream `{name}` has listed none yet{why}");
        return Err(ApiError::overloaded(message));
    }
    match state.engine.missing().next() {
        // With upstreams there is something to serve also without a local model.
        Some((_, missing)) if upstreams.is_empty() => {
            Err(ApiError::unavailable(missing.to_string()))
        }
        _ => Ok("ok\n"),
    }
}
