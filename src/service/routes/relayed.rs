//! Requests that an upstream answers: OpenAI's endpoints for models that are not here.

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use http::HeaderMap;

use super::{
    input::{self, Headers},
    openapi,
};
use crate::service::{
    Service,
    cache::{
        self, Alike, Answer, Asked, Key, Meaning, One, Question, Refusal, Semantic, Shelf, Unread,
        Way, Wish,
    },
    call::Call,
    caller::Caller,
    error::ApiError,
    middleware::RequestId,
    upstream::{Document, Endpoint, Exchange, Route},
};

/// `POST /v1/chat/completions`.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "models", request_body = openapi::ChatRequest,
    responses(
        (status = 200, description = "an answer, whole or as a stream", body = openapi::ChatAnswer),
        openapi::Refused,
    ),
)]
#[tracing::instrument(
    level = "debug",
    name = "POST /v1/chat/completions",
    skip_all,
    fields(request_id = id.as_str())
)]
pub(super) async fn chat(
    State(service): State<Service>,
    caller: Caller,
    id: RequestId,
    Headers(headers): Headers,
    body: Body,
) -> Result<Response, ApiError> {
    Box::pin(relay(&service, Endpoint::Chat, &caller, &id, &headers, body)).await
}

/// `POST /v1/completions`.
#[utoipa::path(
    post, path = "/v1/completions", tag = "models", request_body = openapi::CompletionRequest,
    responses(
        (status = 200, description = "a continuation, whole or as a stream", body = openapi::ChatAnswer),
        openapi::Refused,
    ),
)]
#[tracing::instrument(
    level = "debug",
    name = "POST /v1/completions",
    skip_all,
    fields(request_id = id.as_str())
)]
pub(super) async fn completions(
    State(service): State<Service>,
    caller: Caller,
    id: RequestId,
    Headers(headers): Headers,
    body: Body,
) -> Result<Response, ApiError> {
    Box::pin(relay(&service, Endpoint::Completions, &caller, &id, &headers, body)).await
}

/// `POST /v1/rerank`: as Cohere, Jina and vLLM have it.
#[utoipa::path(
    post, path = "/v1/rerank", tag = "models", request_body = openapi::RerankRequest,
    responses(
        (status = 200, description = "documents, best first", body = openapi::RerankAnswer),
        openapi::Refused,
    ),
)]
#[tracing::instrument(
    level = "debug",
    name = "POST /v1/rerank",
    skip_all,
    fields(request_id = id.as_str())
)]
pub(super) async fn rerank(
    State(service): State<Service>,
    caller: Caller,
    id: RequestId,
    Headers(headers): Headers,
    body: Body,
) -> Result<Response, ApiError> {
    Box::pin(relay(&service, Endpoint::Rerank, &caller, &id, &headers, body)).await
}

/// Lets the request in, reads it, and passes it on. Boxed by those who call it: layers move the
/// handler's future, and this one is large.
async fn relay(
    service: &Service,
    endpoint: Endpoint,
    caller: &Caller,
    id: &RequestId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bill = caller.bill(service, endpoint.name(), id);
    let answer = async {
        let (body, call) = input::enter(service, caller, headers, body).await?;
        let call = call.of(caller, &bill);
        let document = input::parse(service, body.bytes.clone(), Document::read).await?;
        // First: a request that is refused has a row that says what it was for.
        bill.asks(document.model());
        caller.must_be_served()?;
        caller.must_see(document.model())?;
        caller.reserve(service, &bill, document.tokens()).await?;
        answer(service, endpoint, headers, &document, call).await
    };
    let answer = answer.await;
    Ok(bill.told(answer))
}

/// Passes on a request that was read.
pub(super) async fn answer(
    service: &Service,
    endpoint: Endpoint,
    headers: &HeaderMap,
    document: &Document,
    call: Call,
) -> Result<Response, ApiError> {
    let upstreams = &service.inner.upstreams;
    let model = document.model();
    let Some(route) = upstreams.route(model) else {
        return Err(match service.engine().model(model) {
            Ok(_) => ApiError::wrong_kind_of_model(model),
            Err(why) => ApiError::no_model(model, why),
        });
    };
    let question = match kept(service, endpoint, call.caller(), headers, document, &route).await? {
        None => None,
        Some(One::Missing(question)) => Some(question),
        Some(One::Had(answer, way)) => {
            call.bill().is_cached(answer.usage());
            return Ok(answer.give(way, call));
        }
    };
    let exchange = Exchange { route: &route, endpoint, headers, document, call: &call };
    // Boxed: it is most of this future, which is moved as a whole, also where it is not come to.
    let exchanged = match (Box::pin(upstreams.exchange(exchange)).await, question) {
        (Ok(exchanged), Some(question)) => {
            let bill = call.bill().clone();
            return Ok(cache::record(question, exchanged.pass_on(route, endpoint, call), bill));
        }
        (Ok(exchanged), None) => exchanged,
        (Err(error), question) => {
            if let Some(question) = question {
                question.refuse(&Refusal::Error(error.clone()));
            }
            return Err(error);
        }
    };
    Ok(exchanged.pass_on(route, endpoint, call))
}

/// What is kept of the answer to a request, if any is to be.
async fn kept(
    service: &Service,
    endpoint: Endpoint,
    caller: &Caller,
    headers: &HeaderMap,
    document: &Document,
    route: &Route,
) -> Result<Option<One<Answer>>, ApiError> {
    let cache = &service.inner.cache;
    let Some(answers) = &cache.answers else { return Ok(None) };
    let unread = cache.unread(endpoint, caller, headers, document, route.is_personal())?;
    let Some(unread) = unread else { return Ok(None) };
    let as_it_is = unread.as_it_is(document.bytes());
    if let Some(answer) = cache.at_hand(as_it_is, &unread) {
        return Ok(Some(One::Had(answer, Way::Hit)));
    }
    let looking = look(service, answers, document.bytes().clone(), as_it_is, unread);
    // Boxed for the same reason.
    Box::pin(looking).await
}

/// What is kept of the answer to a question that is not at hand.
async fn look(
    service: &Service,
    answers: &Shelf<Answer>,
    bytes: Bytes,
    as_it_is: Option<Key>,
    unread: Unread,
) -> Result<Option<One<Answer>>, ApiError> {
    let cache = &service.inner.cache;
    let asked = input::parse(service, bytes, |bytes| Ok(unread.read(&bytes))).await?;
    let Some(Asked { key, wish, meaning }) = asked else { return Ok(None) };
    cache.knows(as_it_is, key);
    match answers.one(key, &wish).await {
        Ok(One::Missing(question)) => {
            let one = match (&cache.semantic, meaning) {
                (Some(semantic), Some(meaning)) => {
                    alike(service, answers, semantic, meaning, &wish, question).await
                }
                _ => One::Missing(question),
            };
            let is_kept = !matches!(one, One::Missing(_));
            if wish.only_kept && !is_kept { Err(ApiError::not_kept()) } else { Ok(Some(one)) }
        }
        Ok(one) => Ok(Some(one)),
        Err(Refusal::Error(error)) => Err(error),
        // What the upstream said to who asked first.
        Err(Refusal::Answer(answer)) => Ok(Some(One::Had(answer, Way::Coalesced))),
    }
}

/// What is kept of a question that means the same.
async fn alike(
    service: &Service,
    answers: &Shelf<Answer>,
    semantic: &Semantic,
    meaning: Meaning,
    wish: &Wish,
    mut question: Question<Answer>,
) -> One<Answer> {
    let compared = semantic.compare(service.engine(), meaning).await;
    let Some((compared, alike)) = compared else { return One::Missing(question) };
    if let Some(Alike { key, similarity }) = alike {
        if let Some(answer) = answers.kept(key, wish).await {
            return One::Had(answer, Way::Semantic(similarity));
        }
        compared.is_gone(key);
    }
    question.is_compared(compared);
    One::Missing(question)
}
