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
    codec::{Codec, Vectors},
    cpu::{CpuError, CpuPool},
    error::ApiError,
    middleware::RequestId,
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
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (body, call) = input::enter(&service, &headers, body).await?;
    let codec = Codec::of_answer(&headers).unwrap_or_default();
    // Whose model it is, is looked for only where it may be somebody else's.
    if !service.inner.upstreams.is_empty() {
        let document = input::parse(&service, body.bytes.clone(), Document::read).await?;
        let is_here = service.engine().model(document.model()).is_ok();
        if !is_here && service.inner.upstreams.route(document.model()).is_some() {
            let endpoint = Endpoint::Embeddings;
            let vectors = relayed_vectors(&service, codec, body.bytes).await?;
            let mut answer = relayed::answer(&service, endpoint, &headers, &document, call).await?;
            if let Some(vectors) = vectors {
                answer.extensions_mut().insert(vectors);
            }
            return Ok(answer);
        }
    }
    service.in_time(call.started(), embed(&service, codec, body.bytes)).await
}

/// Embeds on the local engine.
async fn embed(service: &Service, codec: Codec, body: Bytes) -> Result<Response, ApiError> {
    let EmbeddingsRequest { model: name, input, encoding_format, dimensions, .. } =
        input::parse(service, body, |body| request::parse(&body)).await?;
    let model = service.engine().model(&name).map_err(|why| ApiError::no_model(&name, why))?;
    let dimensions = request::check_dimensions(dimensions, model.dimensions())?;

    let embedded = model.embed(input.0).await?;
    let timings = embedded.timings;
    let answer = Answer { model: name, embedded, dimensions, format: encoding_format, codec };
    let encoded = encode(service.engine().cpu(), answer).await?;
    let headers = [
        (header::CONTENT_TYPE, codec.media_type().to_owned()),
        (header::HeaderName::from_static("server-timing"), response::server_timing(&timings)),
    ];
    Ok((headers, encoded).into_response())
}

/// How the client wants vectors that an upstream sends as numbers.
async fn relayed_vectors(
    service: &Service,
    codec: Codec,
    body: Bytes,
) -> Result<Option<Vectors>, ApiError> {
    if codec == Codec::Json {
        return Ok(None);
    }
    input::parse(service, body, |body| Ok(request::vectors(&body))).await
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
