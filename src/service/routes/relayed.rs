//! Requests that an upstream answers: OpenAI's endpoints for models that are not here.

use axum::{Extension, body::Body, extract::State, response::Response};
use http::HeaderMap;

use super::input;
use crate::service::{
    Service,
    call::Call,
    caller::Caller,
    error::ApiError,
    middleware::RequestId,
    upstream::{Document, Endpoint, Exchange},
};

/// `POST /v1/chat/completions`.
#[tracing::instrument(
    level = "debug",
    name = "POST /v1/chat/completions",
    skip_all,
    fields(request_id = id.as_str())
)]
pub(super) async fn chat(
    State(service): State<Service>,
    caller: Caller,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    Box::pin(relay(&service, Endpoint::Chat, &caller, &id, &headers, body)).await
}

/// `POST /v1/completions`.
#[tracing::instrument(
    level = "debug",
    name = "POST /v1/completions",
    skip_all,
    fields(request_id = id.as_str())
)]
pub(super) async fn completions(
    State(service): State<Service>,
    caller: Caller,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    Box::pin(relay(&service, Endpoint::Completions, &caller, &id, &headers, body)).await
}

/// `POST /v1/rerank`: as Cohere, Jina and vLLM have it.
#[tracing::instrument(
    level = "debug",
    name = "POST /v1/rerank",
    skip_all,
    fields(request_id = id.as_str())
)]
pub(super) async fn rerank(
    State(service): State<Service>,
    caller: Caller,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
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
        caller.must_be_served()?;
        let (body, call) = input::enter(service, headers, body).await?;
        let call = call.of(caller, &bill);
        let document = input::parse(service, body.bytes.clone(), Document::read).await?;
        bill.asks(document.model());
        caller.must_see(document.model())?;
        answer(service, endpoint, headers, &document, call).await
    };
    let answer = answer.await;
    bill.says(&answer);
    answer
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
    let exchange = Exchange { route: &route, endpoint, headers, document, call: &call };
    let exchanged = upstreams.exchange(exchange).await?;
    Ok(exchanged.pass_on(route, endpoint, call))
}
