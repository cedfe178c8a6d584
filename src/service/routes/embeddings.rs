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
use crate::service::{
    Service,
    cpu::{CpuError, CpuPool},
    error::ApiError,
    middleware::RequestId,
};

pub(crate) use request::MAX_INPUTS;

/// Bodies longer than this many bytes are parsed off the workers: above, parsing takes more than
/// a tenth of a millisecond.
const SMALL_BODY: usize = 32 << 10;
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
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_content_type(&headers)?;
    let body = service.inner.bodies.read(body, declared_length(&headers)).await?;
    let cpu = service.engine().cpu();
    let EmbeddingsRequest { model: name, input, encoding_format, dimensions, .. } =
        parse(cpu, body.bytes.clone()).await?;
    let model = service.engine().model(&name).map_err(|why| ApiError::no_model(&name, why))?;
    let dimensions = request::check_dimensions(dimensions, model.dimensions())?;

    let embedded = model.embed(input.0).await?;
    let timings = embedded.timings;
    let answer = Answer { model: name, embedded, dimensions, format: encoding_format };
    let encoded = encode(cpu, answer).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::HeaderName::from_static("server-timing"), response::server_timing(&timings)),
    ];
    Ok((headers, encoded).into_response())
}

async fn parse(cpu: &CpuPool, bytes: Bytes) -> Result<EmbeddingsRequest, ApiError> {
    if bytes.len() <= SMALL_BODY {
        return request::parse(&bytes);
    }
    cpu.run(move || request::parse(&bytes)).await?
}

async fn encode(cpu: &CpuPool, answer: Answer) -> Result<Vec<u8>, ApiError> {
    let numbers = answer.embedded.vectors.len() * answer.dimensions;
    if numbers <= SMALL_ANSWER {
        return response::encode(answer);
    }
    let span = tracing::Span::current();
    cpu.run(move || span.in_scope(|| response::encode(answer))).await?
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(found) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let found = found.to_str().unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::wrong_content_type(found))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl From<CpuError> for ApiError {
    fn from(error: CpuError) -> Self {
        match error {
            CpuError::Full => Self::overloaded(error.to_string()),
            CpuError::Lost => Self::internal(error.to_string()),
        }
    }
}
