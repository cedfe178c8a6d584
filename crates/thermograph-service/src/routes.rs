//! The service's routes, all on this page.

mod embeddings;
mod health;
mod input;
mod models;
mod object;
mod openapi;
mod relayed;
mod usage;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use http::{Method, Uri};

use super::{error::ApiError, state::AppState, upstream::Endpoint};

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
pub(crate) fn router(state: Arc<AppState>) -> Router {
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
        .with_state(state)
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

/// Paths of Ollama's own API, and those of OpenAI's with the same purpose.
const OLLAMA: [(&str, &str); 4] = [
    ("/api/chat", "/v1/chat/completions"),
    ("/api/generate", "/v1/completions"),
    ("/api/embed", "/v1/embeddings"),
    ("/api/tags", "/v1/models"),
];
/// Most segments of a path that are looked at from its end; no route has more, but for names of models.
const SEGMENTS: usize = 4;

/// The path that a client means with one that is not there, if it is a known mistake: too many slashes, a
/// base URL without `/v1`, with it twice or with another prefix, as of Azure's deployments, or Ollama's API.
fn meant(path: &str) -> Option<String> {
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let whole = format!("/{}", segments.join("/"));
    if let Some((_, meant)) = OLLAMA.iter().find(|(theirs, _)| *theirs == whole) {
        return Some((*meant).to_owned());
    }
    let last = segments.len().saturating_sub(SEGMENTS)..segments.len();
    let meant = std::iter::once(0).chain(last).find_map(|start| {
        let path = format!("/{}", segments[start..].join("/"));
        let versioned = format!("/v1{path}");
        if is_route(&path) {
            return Some(path);
        }
        // `/models/…` is a common path of other APIs, too.
        let is_meant = is_fixed_route(&versioned) || (start == 0 && is_route(&versioned));
        is_meant.then_some(versioned)
    });
    meant.filter(|meant| meant != path)
}

fn is_route(path: &str) -> bool {
    let is_model = path.strip_prefix("/v1/models/").is_some_and(|model| !model.is_empty());
    is_model || is_fixed_route(path)
}

/// Returns whether it is the path of a route without parameters.
fn is_fixed_route(path: &str) -> bool {
    const OTHERS: [&str; 5] =
        ["/v1/models", "/v1/usage", "/openapi.json", "/health/live", "/health/ready"];
    let mut endpoints = Endpoint::ALL.iter();
    OTHERS.contains(&path) || endpoints.any(|endpoint| endpoint.paths().contains(&path))
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
            ("/v1/v1/chat/completions", Some("/v1/chat/completions")),
            ("/v1/v1/models/a/b", Some("/v1/models/a/b")),
            ("/openai/v1/responses", Some("/v1/responses")),
            ("/openai/v1/audio/speech/", Some("/v1/audio/speech")),
            ("/openai/deployments/d/chat/completions", Some("/v1/chat/completions")),
            ("/openai/deployments/d/embeddings", Some("/v1/embeddings")),
            ("/v1/engines/e/completions", Some("/v1/completions")),
            ("/v1beta/openai/chat/completions", Some("/v1/chat/completions")),
            ("/anthropic/v1/messages/count_tokens", Some("/v1/messages/count_tokens")),
            ("/api/chat", Some("/v1/chat/completions")),
            ("/api/generate/", Some("/v1/completions")),
            ("/api/embed", Some("/v1/embeddings")),
            ("/api/embeddings", Some("/v1/embeddings")),
            ("/api/tags", Some("/v1/models")),
            ("//v1/chat/completions", Some("/v1/chat/completions")),
            ("/v1//chat///completions", Some("/v1/chat/completions")),
            ("//rerank", Some("/rerank")),
            ("/v1beta/models/gemini:generateContent", None),
            ("//", None),
            ("/", None),
            ("/v1", None),
            ("/v1/nothing/", None),
        ] {
            assert_eq!(meant(path).as_deref(), expected, "{path}");
        }
    }
}
