//! `POST /v1/embeddings`: texts to vectors.

mod elsewhere;
mod kept;
mod request;
mod response;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, header};
use thermograph_codec::{Codec, Vectors};
use thermograph_common::CpuPool;

use self::{elsewhere::Elsewhere, kept::Had, request::EmbeddingsRequest, response::Answer};
use super::{
    input::{self, Headers},
    models, openapi, relayed,
};
use crate::{
    cache::{Refusal, Wish},
    call::Call,
    caller::Caller,
    error::ApiError,
    request_id::RequestId,
    state::AppState,
    store::Bill,
    upstream::{Document, Endpoint, Route},
    usage::Usage,
};

/// Answers of more numbers than this are encoded off the workers, for the same reason.
const SMALL_ANSWER: usize = 4096;

/// Embeds what the body says: OpenAI's `CreateEmbeddingRequest`.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "models", request_body = openapi::EmbeddingsBody,
    responses(
        (status = 200, description = "vectors", body = openapi::EmbeddingsAnswer),
        openapi::Refused,
    ),
)]
#[tracing::instrument(
    name = "POST /v1/embeddings",
    skip_all,
    fields(request_id = id.as_str())
)]
pub(super) async fn embeddings(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    id: RequestId,
    Headers(headers): Headers,
    body: Body,
) -> Result<Response, ApiError> {
    let bill = caller.bill(state.store.as_ref(), Endpoint::Embeddings.name(), &id);
    // Boxed: layers move the future of a handler.
    let answer = Box::pin(answer(&state, &caller, &bill, &headers, body)).await;
    Ok(bill.told(answer.into_response()))
}

/// Lets the request in, and answers it here or passes it on.
async fn answer(
    state: &AppState,
    caller: &Caller,
    bill: &Bill,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    input::check_accept(headers)?;
    let (body, call) = input::enter_json(state, caller, headers, body).await?;
    let call = call.of(caller, bill);
    // The engine reads a request for itself. Its model matters before that where it may be an
    // upstream's, and where the caller has limits.
    if !(caller.is_anonymous() && state.upstreams.is_empty()) {
        let read = |bytes| Document::read(Endpoint::Embeddings, bytes);
        let document = input::parse(state, body.bytes.clone(), read).await?;
        bill.asks(document.model());
        caller.must_be_served()?;
        caller.must_see(document.model())?;
        caller.reserve(&state.limits, bill, document.tokens()).await?;
        let is_here = state.engine.model(document.model()).is_ok();
        let route = state.upstreams.route(document.model()).filter(|_| !is_here);
        if let Some(route) = route {
            return Box::pin(elsewhere(state, &route, headers, &document, call)).await;
        }
    }
    state.in_time(call.started(), embed(state, headers, &call, body.bytes)).await
}

/// Has an upstream embed, what is not kept.
async fn elsewhere(
    state: &AppState,
    route: &Arc<Route>,
    headers: &HeaderMap,
    document: &Document,
    call: Call,
) -> Result<Response, ApiError> {
    let (shelf, wish) = (state.cache.vectors.as_ref(), Wish::of(headers)?);
    let request = match shelf.filter(|_| wish.keeps()) {
        None => None,
        // What we do not know is the upstream's to judge.
        Some(shelf) => {
            let body = document.bytes().clone();
            let request = input::parse(state, body, |body| request::parse(&body)).await;
            request.ok().map(|request| (shelf, request))
        }
    };
    let Some((shelf, request)) = request else {
        return relay(state, headers, document, call).await;
    };
    let asked = Elsewhere { state, route, headers, request: &request, document, call: &call };
    let had = elsewhere::embed(&asked, shelf, &wish).await;
    let (answer, hits) = match had {
        Ok(had) => had,
        Err(refusal) => return elsewhere::refused(refusal, call),
    };
    let bill = call.bill();
    if hits == request.input.0.len() {
        bill.is_cached(None);
    }
    // Inputs with a cached vector included.
    let prompt_tokens = answer.embedded.tokens as u64;
    bill.used(Usage { prompt_tokens, ..bill.usage().unwrap_or_default() });
    let headers = [(header::CONTENT_TYPE, answer.codec.media_type())];
    let encoded = encode(state.engine.cpu(), answer).await?;
    let mut response = (headers, encoded).into_response();
    kept::tell(&mut response, Some(hits), request.input.0.len());
    Ok(response)
}

/// Passes the answer of an upstream on; how the client wants the vectors in it, it carries along.
async fn relay(
    state: &AppState,
    headers: &HeaderMap,
    document: &Document,
    call: Call,
) -> Result<Response, ApiError> {
    let codec = Codec::of_answer(headers).unwrap_or_default();
    let vectors = relayed_vectors(state, codec, document.bytes().clone()).await?;
    let endpoint = Endpoint::Embeddings;
    let mut answer = relayed::answer(state, endpoint, headers, document, call).await?;
    if let Some(vectors) = vectors {
        answer.extensions_mut().insert(vectors);
    }
    Ok(answer)
}

/// Embeds on the local engine.
async fn embed(
    state: &AppState,
    headers: &HeaderMap,
    call: &Call,
    body: Bytes,
) -> Result<Response, ApiError> {
    let codec = Codec::of_answer(headers).unwrap_or_default();
    let request = input::parse(state, body, |body| request::parse(&body)).await?;
    let too_long = request.too_long();
    let EmbeddingsRequest { model: name, input, encoding_format, dimensions, .. } = request;
    call.bill().asks(&name);
    call.caller().must_see(&name)?;
    let model = state.engine.model(&name).map_err(|why| models::missing(state, &name, why))?;
    let dimensions = request::check_dimensions(dimensions, model.dimensions())?;

    let (inputs, wish) = (input.0.len(), Wish::of(headers)?);
    let cache = &state.cache;
    let tenant = cache.tenant(call.caller(), headers, false);
    let had = kept::embed(cache.vectors.as_ref(), &wish, tenant, model, input.0, too_long).await;
    let Had { mut embedded, hits } = had.map_err(Refusal::into_error)?;
    let timings = embedded.timings;
    let input_tokens = std::mem::take(&mut embedded.input_tokens);
    if hits == Some(inputs) {
        call.bill().is_cached(None);
    }
    call.bill().used(Usage::of_prompt(embedded.tokens as u64));
    let answer = Answer { model: name, embedded, dimensions, format: encoding_format, codec };
    let encoded = encode(state.engine.cpu(), answer).await?;
    let headers = [
        (header::CONTENT_TYPE, codec.media_type().to_owned()),
        (header::HeaderName::from_static("server-timing"), response::server_timing(&timings)),
    ];
    let mut response = (headers, encoded).into_response();
    kept::tell(&mut response, hits, inputs);
    kept::tell_truncated(&mut response, &input_tokens);
    Ok(response)
}

/// How the client wants vectors that an upstream sends as numbers.
async fn relayed_vectors(
    state: &AppState,
    codec: Codec,
    body: Bytes,
) -> Result<Option<Vectors>, ApiError> {
    if codec == Codec::Json {
        return Ok(None);
    }
    input::parse(state, body, |body| Ok(request::vectors(&body))).await
}

async fn encode(cpu: &CpuPool, answer: Answer) -> Result<Vec<u8>, ApiError> {
    let numbers = answer.embedded.vectors.len() * answer.dimensions;
    if numbers <= SMALL_ANSWER {
        return response::encode(answer);
    }
    let span = tracing::Span::current();
    cpu.run(move || span.in_scope(|| response::encode(answer))).await?
}
