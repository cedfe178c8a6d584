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

use super::{Service, error::ApiError, upstream::Endpoint};

/// | route | answer |
/// |---|---|
/// | `POST` of each path of [`Endpoint`] | that of an upstream |
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
    ApiError::unknown_path(&method, uri.path(), meant(uri.path()).as_deref())
}

/// The path that a client means with one that is not there, if it is a known mistake: a slash at the
/// end, or a base URL without `/v1`, or with it twice.
fn meant(path: &str) -> Option<String> {
    let trimmed = path.trim_end_matches('/');
    let versioned = format!("/v1{trimmed}");
    let once = trimmed.strip_prefix("/v1").filter(|rest| rest.starts_with("/v1/"));
    let candidates = [Some(trimmed), Some(&versioned), once];
    let meant = candidates.into_iter().flatten().find(|candidate| is_route(candidate))?;
    (meant != path).then(|| meant.to_owned())
}

fn is_route(path: &str) -> bool {
    const OTHERS: [&str; 5] =
        ["/v1/models", "/v1/usage", "/openapi.json", "/health/live", "/health/ready"];
    let is_model = path.strip_prefix("/v1/models/").is_some_and(|model| !model.is_empty());
    let mut endpoints = Endpoint::ALL.iter();
    is_model || OTHERS.contains(&path) || endpoints.any(|endpoint| endpoint.paths().contains(&path))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(&method, uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_known_mistakes_have_a_hint() {
        for (path, expected) in [
            ("/v1/chat/completions/", Some("/v1/chat/completions")),
            ("/chat/completions", Some("/v1/chat/completions")),
            ("/embeddings/", Some("/v1/embeddings")),
            ("/models", Some("/v1/models")),
            ("/models/a/b", Some("/v1/models/a/b")),
            ("/v1/v1/embeddings", Some("/v1/embeddings")),
            ("/v1/models/", Some("/v1/models")),
            ("/health/ready/", Some("/health/ready")),
            ("/", None),
            ("/v1", None),
            ("/v1/nothing/", None),
        ] {
            assert_eq!(meant(path).as_deref(), expected, "{path}");
        }
    }
}
