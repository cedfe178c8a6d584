//! The service's routes, all on this page.

mod embeddings;
mod health;
mod input;
mod models;
mod object;
mod openapi;
mod relayed;
mod usage;

use axum::{
    Router,
    routing::{get, post},
};
use http::{Method, Uri};

pub(crate) use embeddings::MAX_INPUTS;

use super::{Service, error::ApiError};

/// | route | answer |
/// |---|---|
/// | `POST` of each path of [`Endpoint`](super::upstream::Endpoint) | that of an upstream |
/// | `POST /v1/embeddings` | vectors of texts, made here or by an upstream |
/// | `GET /v1/models` | the models that can be used |
/// | `GET /v1/models/{*id}` | one of them |
/// | `GET /v1/usage` | the usage of a key, by day and model |
/// | `GET /openapi.json` | all of these in OpenAPI's words |
/// | `GET /health/live` | 200 as long as the process answers |
/// | `GET /health/ready` | 200 if it can serve; else 503 and why |
pub(crate) fn router(service: &Service) -> Router {
    relayed::add(Router::new())
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/usage", get(usage::usage))
        .route("/openapi.json", get(openapi::openapi))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(service.clone())
}

/// Routes of connections over the limit. Liveness is answered: a restart would not help.
pub(crate) fn when_full(max_connections: usize) -> Router {
    let message = format!(
        "all {max_connections} connections are in use (`api.max_connections`): retry, or try another \
         instance"
    );
    Router::new()
        .route("/health/live", get(health::live))
        .fallback(async move || ApiError::overloaded(message))
}

/// Routes of requests without a valid `Host` header.
pub(crate) fn without_host() -> Router {
    let message = "invalid `host` header: expected exactly one, with a host name or address and an \
                   optional port";
    Router::new().fallback(async move || ApiError::bad_request(None, message))
}

async fn unknown(method: Method, uri: Uri) -> ApiError {
    ApiError::unknown_path(&method, uri.path())
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(&method, uri.path())
}
