//! The mock's routes, all on this page.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::from_fn,
    routing::{MethodRouter, get, post},
};
use serde_json::{Value, json};

use super::{
    Mock, chat, completions, door, embeddings, images, messages, models, moderations,
    refusal::{Dialect, unknown, wrong_method},
    request_id, rerank, responses, speech, transcriptions,
    way::{self, Ask, AskForm, AskJson},
};

/// | route | what it gives |
/// |---|---|
/// | `POST /v1/chat/completions` | messages or tool calls, whole or as a stream |
/// | `POST /v1/completions` | texts, whole or as a stream |
/// | `POST /v1/responses` | a message, whole or as a stream |
/// | `POST /v1/messages` | a message in `Anthropic`'s form, whole or as a stream |
/// | `POST /v1/messages/count_tokens` | tokens of a request in `Anthropic`'s form |
/// | `POST /v1/embeddings` | vectors of eight numbers |
/// | `POST /v1/rerank`, `/v2/rerank`, `/rerank` | documents by their score |
/// | `POST /v1/moderations` | scores, all of them low |
/// | `POST /v1/audio/transcriptions`, `/v1/audio/translations` | words for any audio |
/// | `POST /v1/audio/speech` | a tone |
/// | `POST /v1/images/generations` | pictures of one color |
/// | `GET /v1/models`, `/v1/models/{id}` | the models |
/// | `GET /health` | that the mock answers |
/// | `GET`, `PATCH /mock` | how it behaves and what it has counted |
/// | `GET /mock/last` | the newest request, where it was recorded |
pub(super) fn router(mock: Mock) -> Router {
    Router::new()
        .route("/v1/chat/completions", played(chat::answer))
        .route("/v1/completions", played(completions::answer))
        .route("/v1/responses", played(responses::answer))
        .route("/v1/messages", played_anthropic(messages::answer))
        .route("/v1/messages/count_tokens", played_anthropic(messages::count))
        .route("/v1/embeddings", played(embeddings::answer))
        .route("/v1/rerank", played(rerank::answer))
        .route("/v2/rerank", played(rerank::answer))
        .route("/rerank", played(rerank::answer))
        .route("/v1/moderations", played(moderations::answer))
        .route("/v1/audio/transcriptions", played_form(transcriptions::transcribe))
        .route("/v1/audio/translations", played_form(transcriptions::translate))
        .route("/v1/audio/speech", played(speech::answer))
        .route("/v1/images/generations", played(images::answer))
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

fn played(ask: AskJson) -> MethodRouter<Mock> {
    asked(Ask::Json(ask), Dialect::OpenAi)
}

fn played_form(ask: AskForm) -> MethodRouter<Mock> {
    asked(Ask::Form(ask), Dialect::OpenAi)
}

fn played_anthropic(ask: AskJson) -> MethodRouter<Mock> {
    asked(Ask::Json(ask), Dialect::Anthropic)
}

fn asked(ask: Ask, dialect: Dialect) -> MethodRouter<Mock> {
    post(move |State(mock): State<Mock>, request: Request| async move {
        way::answer(mock, request, ask, dialect).await
    })
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
