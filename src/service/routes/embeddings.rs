//! `POST /v1/embeddings`: texts to vectors.

mod request;
mod response;

use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, header};

use self::{request::EmbeddingsRequest, response::Answer};
use super::{input, relayed};
use crate::service::{
    Service,
    call::Call,
    caller::Caller,
    cpu::{CpuError, CpuPool},
    error::ApiError,
    middleware::RequestId,
    store::Bill,
    upstream::{Document, Endpoint},
};

pub(crate) use request::MAX_INPUTS;

/// Answers of more numbers than this are encoded off the workers, for the same reason.
const SMALL_ANSWER: usize = 4096;

/// Embeds what the body says: OpenAI's `CreateEmbeddingRequest`.
#[tracing::instrument(
    name = "POST /v1/embeddings",
    skip_all,
    fields(request_id = id.as_str())
)]
pub(super) async fn embeddings(
    State(service): State<Service>,
    caller: Caller,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bill = caller.bill(&service, Endpoint::Embeddings.name(), &id);
    let answer = answer(&service, &caller, &bill, &headers, body).await;
    bill.says(&answer);
    answer
}

/// Lets the request in, and answers it here or passes it on.
async fn answer(
    service: &Service,
    caller: &Caller,
    bill: &Bill,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.must_be_served()?;
    let (body, call) = input::enter(service, headers, body).await?;
    let call = call.of(caller, bill);
    // Whose model it is, is looked for only where it may be somebody else's.
    if !service.inner.upstreams.is_empty() {
        let document = input::parse(service, body.bytes.clone(), Document::read).await?;
        bill.asks(document.model());
        caller.must_see(document.model())?;
        let is_here = service.engine().model(document.model()).is_ok();
        if !is_here && service.inner.upstreams.route(document.model()).is_some() {
            let endpoint = Endpoint::Embeddings;
            return relayed::answer(service, endpoint, headers, &document, call).await;
        }
    }
    service.in_time(call.started(), embed(service, &call, body.bytes)).await
}

/// Embeds on the local engine.
async fn embed(service: &Service, call: &Call, body: Bytes) -> Result<Response, ApiError> {
    let EmbeddingsRequest { model: name, input, encoding_format, dimensions, .. } =
        input::parse(service, body, |body| request::parse(&body)).await?;
    call.bill().asks(&name);
    call.caller().must_see(&name)?;
    let model = service.engine().model(&name).map_err(|why| ApiError::no_model(&name, why))?;
    let dimensions = request::check_dimensions(dimensions, model.dimensions())?;

    let embedded = model.embed(input.0).await?;
    let timings = embedded.timings;
    call.bill().used(embedded.tokens as u64, 0);
    let answer = Answer { model: name, embedded, dimensions, format: encoding_format };
    let encoded = encode(service.engine().cpu(), answer).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::HeaderName::from_static("server-timing"), response::server_timing(&timings)),
    ];
    Ok((headers, encoded).into_response())
}

async fn encode(cpu: &CpuPool, answer: Answer) -> Result<Vec<u8>, ApiError> {
    let numbers = answer.embedded.vectors.len() * answer.dimensions;
    if numbers <= SMALL_ANSWER {
        return response::encode(answer);
    }
    let span = tracing::Span::current();
    cpu.run(move || span.in_scope(|| response::encode(answer))).await?
}

impl From<CpuError> for ApiError {
    fn from(error: CpuError) -> Self {
        match error {
            CpuError::Full => Self::overloaded(error.to_string()),
            CpuError::Lost => Self::internal(error.to_string()),
        }
    }
}
