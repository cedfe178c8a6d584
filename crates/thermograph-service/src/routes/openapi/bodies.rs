//! Bodies as they are described. Those of upstreams are passed on: what is named here is what
//! matters here, and the rest is the upstream's.
#![expect(dead_code, clippy::struct_field_names, reason = "they are described, and never made")]

use serde_json::Value;
use thermograph_engine::MAX_INPUTS;
use utoipa::{
    IntoResponses, ToSchema,
    openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, Type},
};

/// OpenAI's error object.
#[derive(ToSchema)]
pub(crate) struct Error {
    error: ErrorObject,
}

/// What went wrong.
#[derive(ToSchema)]
struct ErrorObject {
    message: String,
    /// Such as `invalid_request_error`, `server_error` or `requests`.
    r#type: String,
    /// The field that it is about.
    param: Option<String>,
    /// Such as `model_not_found` or `rate_limit_exceeded`.
    code: Option<String>,
}

/// How requests to models are refused.
#[derive(IntoResponses)]
pub(crate) enum Refused {
    /// What is not allowed, and what is.
    #[response(status = 400)]
    NotAllowed(Error),
    /// A key is needed.
    #[response(status = 401)]
    NoKey(Error),
    /// No such model.
    #[response(status = 404)]
    NoModel(Error),
    /// The body was not received in time.
    #[response(status = 408)]
    SlowBody(Error),
    /// The body is larger than bodies may be.
    #[response(status = 413)]
    TooLarge(Error),
    /// The body is of a media type that is not read here.
    #[response(status = 415)]
    MediaType(Error),
    /// More than the key may have.
    #[response(status = 429)]
    TooMuch(Error),
    /// More than can be done now.
    #[response(status = 503)]
    Overloaded(Error),
}

/// OpenAI's `CreateChatCompletionRequest`; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct ChatRequest {
    /// Name of a model that `GET /v1/models` lists.
    #[schema(example = "mock")]
    model: String,
    messages: Vec<Message>,
    /// Answered as server-sent events, or as frames in MessagePack and CBOR.
    stream: Option<bool>,
    /// Number of choices.
    #[schema(minimum = 1, maximum = 128)]
    n: Option<u64>,
    /// With 0 the answer may be one that is kept.
    temperature: Option<f64>,
    /// Counts for the limit of tokens.
    max_completion_tokens: Option<u64>,
}

/// What somebody says.
#[derive(ToSchema)]
struct Message {
    #[schema(example = "user")]
    role: String,
    /// Text, or parts of it.
    #[schema(required = false)]
    content: Value,
}

/// OpenAI's `CreateChatCompletionResponse`.
#[derive(ToSchema)]
pub(crate) struct ChatAnswer {
    id: String,
    object: String,
    created: u64,
    model: String,
    choices: Vec<Value>,
    usage: Option<Usage>,
}

/// Tokens.
#[derive(ToSchema)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: Option<u64>,
    total_tokens: u64,
}

/// OpenAI's `CreateCompletionRequest`; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct CompletionRequest {
    /// Name of a model that `GET /v1/models` lists.
    #[schema(example = "mock")]
    model: String,
    /// Text, texts, token ids, or lists of these.
    prompt: Value,
    stream: Option<bool>,
    /// Number of choices.
    #[schema(minimum = 1, maximum = 128)]
    n: Option<u64>,
    temperature: Option<f64>,
    max_tokens: Option<u64>,
}

/// OpenAI's `CreateEmbeddingRequest`.
#[derive(ToSchema)]
pub(crate) struct EmbeddingsBody {
    /// Name of a model that `GET /v1/models` lists.
    #[schema(example = "all-MiniLM-L6-v2")]
    model: String,
    /// A text, texts, token ids, or lists of these: at most 2048, none of them empty. Token ids are
    /// those of the model's own tokenizer; a local model refuses them unless it is configured with
    /// `accept_token_ids`.
    #[schema(schema_with = inputs)]
    input: Value,
    /// Numbers or base64; by default, numbers in JSON and bytes in MessagePack and CBOR.
    encoding_format: Option<EncodingFormat>,
    /// The first so many, made a vector of length 1 again; at most those that the model has.
    #[schema(minimum = 1)]
    dimensions: Option<u64>,
    /// For a local model: false refuses an input of more tokens than the model reads; else only its
    /// beginning is read, and `x-thermograph-truncated` says of how many inputs.
    truncate: Option<bool>,
    user: Option<String>,
}

/// Form of a vector's numbers.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum EncodingFormat {
    Float,
    Base64,
}

/// OpenAI's `CreateEmbeddingResponse`.
#[derive(ToSchema)]
pub(crate) struct EmbeddingsAnswer {
    object: String,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
}

/// The vector of an input.
#[derive(ToSchema)]
struct Embedding {
    object: String,
    index: u64,
    /// Numbers, base64 text, or packed little-endian 32-bit floats.
    embedding: Value,
}

/// OpenAI's `CreateResponse`; all other fields are passed on. `max_output_tokens` counts for the limit of
/// tokens.
#[derive(ToSchema)]
pub(crate) struct ResponsesRequest {
    /// Name of a model that `GET /v1/models` lists.
    #[schema(example = "mock")]
    model: String,
    /// A text, or a list of items.
    input: Value,
    /// Answered as server-sent events, or as frames in MessagePack and CBOR.
    stream: Option<bool>,
    /// Unless it is false, a request that an upstream may have seen is not tried again.
    store: Option<bool>,
}

/// Anthropic's request for a message; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct MessagesRequest {
    /// Name of a model that `GET /v1/models` lists.
    #[schema(example = "mock")]
    model: String,
    messages: Value,
    /// Counts for the limit of tokens.
    #[schema(minimum = 1)]
    max_tokens: u64,
    stream: Option<bool>,
}

/// Anthropic's request for the number of tokens in messages; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct CountRequest {
    /// Name of a model that `GET /v1/models` lists.
    #[schema(example = "mock")]
    model: String,
    messages: Value,
}

/// OpenAI's `CreateModerationRequest`; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct ModerationRequest {
    /// Default is OpenAI's, `omni-moderation-latest`.
    #[schema(example = "mock")]
    model: Option<String>,
    /// A text, or a list of at most 2048 texts and pictures.
    #[schema(schema_with = moderated)]
    input: Value,
}

/// OpenAI's `CreateImageRequest`; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct ImageRequest {
    /// Default is OpenAI's, `dall-e-2`.
    #[schema(example = "mock")]
    model: Option<String>,
    #[schema(min_length = 1, max_length = 32000)]
    prompt: String,
}

/// OpenAI's `CreateImageEditRequest`; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct ImageForm {
    /// Default is OpenAI's, `dall-e-2`.
    #[schema(example = "mock")]
    model: Option<String>,
    #[schema(value_type = String, format = Binary, min_length = 1)]
    image: Vec<u8>,
    prompt: String,
}

/// OpenAI's `CreateSpeechRequest`; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct SpeechRequest {
    /// Name of a model that `GET /v1/models` lists.
    #[schema(example = "mock")]
    model: String,
    #[schema(min_length = 1, max_length = 4096)]
    input: String,
    /// Name of a voice, or an object with its `id`.
    voice: Value,
}

/// OpenAI's `CreateTranscriptionRequest`; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct AudioForm {
    /// Name of a model that `GET /v1/models` lists.
    #[schema(example = "mock")]
    model: String,
    #[schema(value_type = String, format = Binary, min_length = 1)]
    file: Vec<u8>,
}

/// The answer of an upstream, whose fields are the upstream's.
#[derive(ToSchema)]
pub(crate) struct Passed {
    model: Option<String>,
}

/// Sound in the format that was asked for.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct Sound(Vec<u8>);

/// As Cohere, Jina and vLLM have it; all other fields are passed on.
#[derive(ToSchema)]
pub(crate) struct RerankRequest {
    /// Name of a model that `GET /v1/models` lists.
    model: String,
    query: String,
    #[schema(min_items = 1)]
    documents: Vec<RankedText>,
    /// Only so many, the best.
    #[schema(minimum = 1)]
    top_n: Option<u64>,
}

/// A document to be ranked.
#[derive(ToSchema)]
#[serde(untagged)]
enum RankedText {
    Text(String),
    Object { text: String },
}

/// Documents, best first.
#[derive(ToSchema)]
pub(crate) struct RerankAnswer {
    model: Option<String>,
    results: Vec<Ranked>,
}

/// A document by its place in the request.
#[derive(ToSchema)]
struct Ranked {
    index: u64,
    relevance_score: f64,
}

/// OpenAI's list of models.
#[derive(ToSchema)]
pub(crate) struct Models {
    object: String,
    data: Vec<Model>,
}

/// OpenAI's model object.
#[derive(ToSchema)]
pub(crate) struct Model {
    id: String,
    object: String,
    /// Seconds since 1970.
    created: u64,
    owned_by: String,
}

/// Form of a report.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum UsageFormat {
    Json,
    Csv,
}

/// What was used.
#[derive(ToSchema)]
pub(crate) struct Used {
    object: String,
    /// The first day, of UTC.
    start: String,
    /// The last day.
    end: String,
    data: Vec<UsedLine>,
    totals: Sums,
}

/// What was used of a model on a day.
#[derive(ToSchema)]
struct UsedLine {
    day: String,
    model: String,
    requests: u64,
    errors: u64,
    cached: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// Sums of requests.
#[derive(ToSchema)]
struct Sums {
    requests: u64,
    errors: u64,
    cached: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// Inputs of embeddings: none is empty.
fn moderated() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let most = Some(MAX_INPUTS);
    let texts = ArrayBuilder::new().items(text()).min_items(Some(1)).max_items(most);
    let part = ObjectBuilder::new().schema_type(Type::Object);
    let parts = ArrayBuilder::new().items(part).min_items(Some(1)).max_items(most);
    Schema::AnyOf(AnyOfBuilder::new().item(text()).item(texts).item(parts).build())
}

fn inputs() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
    let id = || {
        let id = ObjectBuilder::new().schema_type(Type::Integer);
        id.minimum(Some(0)).maximum(Some(u64::from(u32::MAX)))
    };
    let ids = || ArrayBuilder::new().items(id()).min_items(Some(1));
    let most = Some(MAX_INPUTS);
    let texts = ArrayBuilder::new().items(text()).min_items(Some(1)).max_items(most);
    let lists = ArrayBuilder::new().items(ids()).min_items(Some(1)).max_items(most);
    Schema::AnyOf(AnyOfBuilder::new().item(text()).item(texts).item(ids()).item(lists).build())
}
