//! The mock's routes, all on this page.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::from_fn,
    routing::{MethodRouter, get, post},
};
use serde_json::{Value, json};

use super::{
    Mock, chat, completions, door, embeddings, models,
    refusal::{unknown, wrong_method},
    request_id, rerank,
    way::{self, Ask},
};

/// | route | what it gives |
/// |---|---|
/// | `POST /v1/chat/completions` | a message or a tool call, whole or as a stream |
/// | `POST /v1/completions` | a text, whole or as a stream |
/// | `POST /v1/embeddings` | vectors of eight numbers |
/// | `POST /v1/rerank` | documents by their score |
/// | `GET /v1/models`, `/v1/models/{id}` | the models |
/// | `GET /health` | that the mock answers |
/// | `GET`, `PATCH /mock` | how it behaves and what it has counted |
/// | `GET /mock/last` | the newest request, where it was recorded |
pub(super) fn router(mock: Mock) -> Router {
    Router::new()
        .route("/v1/chat/completions", played(chat::answer))
        .route("/v1/completions", played(completions::answer))
        .route("/v1/embeddings", played(embeddings::answer))
        .route("/v1/rerank", played(rerank::answer))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/health", get(health))
        .route("/mock", get(door::show).patch(door::change))
        .route("/mock/last", get(door::last))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        // What a model answers reads its body itself.
        .layer(DefaultBodyLimit::max(way::BODY_LIMIT))
        .with_state(mock)
        .layer(from_fn(request_id::set))
}

fn played(ask: Ask) -> MethodRouter<Mock> {
    post(move |State(mock): State<Mock>, request: Request| async move {
        way::answer(mock, request, ask).await
    })
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
