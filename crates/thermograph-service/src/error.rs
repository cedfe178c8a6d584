//! Errors as OpenAI's clients understand them.
//!
//! The one place where errors of the parts below become answers: what is imported here must not import
//! [`ApiError`].

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use thermograph_codec::{Codec, FrameError, UnknownMediaType};
use thermograph_common::{CpuError, units::millis};
use thermograph_engine::{EmbedError, Unavailable};

use super::{
    body::{BodyError, Encoding},
    limits::Kind as Limited,
};

/// An answer that is an error: OpenAI's error object, and whether trying again can help.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: Kind,
    code: Option<&'static str>,
    param: Option<&'static str>,
    message: String,
    retry: Retry,
}

/// OpenAI's `type` of an error.
#[derive(Clone, Copy, Debug, Serialize)]
enum Kind {
    #[serde(rename = "invalid_request_error")]
    InvalidRequest,
    #[serde(rename = "authentication_error")]
    Authentication,
    #[serde(rename = "permission_error")]
    Permission,
    #[serde(rename = "insufficient_quota")]
    Quota,
    /// As OpenAI has them, of limits.
    #[serde(rename = "requests")]
    Requests,
    #[serde(rename = "tokens")]
    Tokens,
    #[serde(rename = "server_error")]
    Server,
}

/// What the client is told about trying again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Retry {
    /// As its own rules have it, by the status.
    Unsaid,
    /// After this time.
    After(Duration),
    /// It is useless.
    Never,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Object<'a>,
}

#[derive(Serialize)]
struct Object<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: Kind,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

/// Longest header that is told back whole.
const SHOWN: usize = 128;

impl ApiError {
    /// The request's content is not allowed; `param` names the field.
    pub(crate) fn bad_request(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self::client(StatusCode::BAD_REQUEST, param, None, message)
    }

    pub(crate) fn unknown_model(name: &str) -> Self {
        let message =
            format!("the model `{name}` does not exist; GET /v1/models lists those that do");
        Self::client(StatusCode::NOT_FOUND, Some("model"), Some("model_not_found"), message)
    }

    /// The model is one that does something else.
    pub(crate) fn wrong_kind_of_model(name: &str) -> Self {
        let message = format!("the model `{name}` gives embeddings; it does not answer here");
        Self::bad_request(Some("model"), message)
    }

    /// There is no key, or one that is not good (any more).
    pub(crate) fn no_key(message: impl Into<String>) -> Self {
        let status = StatusCode::UNAUTHORIZED;
        Self::never(status, Kind::Authentication, Some("invalid_api_key"), message)
    }

    /// The key is good, and not for this.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        let status = StatusCode::FORBIDDEN;
        Self::never(status, Kind::Permission, Some("insufficient_permissions"), message)
    }

    /// The request is for a host that this server is not, as after DNS rebinding.
    pub(crate) fn foreign_host(host: &str) -> Self {
        let host = shown(host);
        let message = format!(
            "host `{host}` is not allowed without a key: use localhost or an IP address, or add the \
             host to `api.allowed_hosts`"
        );
        Self::never(StatusCode::FORBIDDEN, Kind::Permission, Some("host_not_allowed"), message)
    }

    /// A browser sent the request for a page of another site.
    pub(crate) fn foreign_origin(origin: &str) -> Self {
        let origin = shown(origin);
        let message = format!(
            "requests of web pages of `{origin}` are not allowed: add the origin to `api.cors_origins`"
        );
        Self::never(StatusCode::FORBIDDEN, Kind::Permission, Some("origin_not_allowed"), message)
    }

    /// What the key may use in a month is used up.
    pub(crate) fn no_quota(message: impl Into<String>) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::never(status, Kind::Quota, Some("insufficient_quota"), message)
    }

    /// More than the key may have in a minute; none: it never may.
    pub(crate) fn limited(of: Limited, after: Option<Duration>, message: String) -> Self {
        let (status, code) = (StatusCode::TOO_MANY_REQUESTS, Some("rate_limit_exceeded"));
        let kind = match of {
            Limited::Requests => Kind::Requests,
            Limited::Tokens => Kind::Tokens,
        };
        let error = Self::never(status, kind, code, message);
        Self { retry: after.map_or(Retry::Never, Retry::After), ..error }
    }

    pub(crate) fn unknown_path(method: &http::Method, path: &str, meant: Option<&str>) -> Self {
        let hint = meant.map(|meant| format!("; {meant} is there")).unwrap_or_default();
        let message = format!("there is no {method} {path}{hint}");
        Self::client(StatusCode::NOT_FOUND, None, Some("unknown_url"), message)
    }

    pub(crate) fn wrong_method(method: &http::Method, path: &str) -> Self {
        let message = format!("{path} does not answer to {method}");
        Self::client(StatusCode::METHOD_NOT_ALLOWED, None, Some("method_not_allowed"), message)
    }

    pub(crate) fn too_large(limit: bytesize::ByteSize) -> Self {
        let message = format!("the body is larger than {limit}");
        Self::client(StatusCode::PAYLOAD_TOO_LARGE, None, Some("request_too_large"), message)
    }

    fn wrong_content_type(found: &str) -> Self {
        let (found, offered) = (shown(found), Codec::OFFERED);
        let message = format!("content-type: `{found}` is not understood: {offered}");
        Self::client(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            None,
            Some("unsupported_media_type"),
            message,
        )
    }

    /// The body is compressed in another way than can be read.
    fn wrong_encoding(found: &str) -> Self {
        let (found, offered) = (shown(found), Encoding::OFFERED);
        let message = format!("content-encoding: `{found}` is not understood: {offered}");
        Self::client(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            None,
            Some("unsupported_media_type"),
            message,
        )
    }

    /// The body has to be a form with files.
    pub(crate) fn no_form(found: &str) -> Self {
        let found = shown(found);
        let message = format!(
            "content-type: `{found}` is not understood here: `multipart/form-data` with a boundary"
        );
        Self::client(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            None,
            Some("unsupported_media_type"),
            message,
        )
    }

    pub(crate) fn not_acceptable(found: &str) -> Self {
        let (found, offered) = (shown(found), Codec::OFFERED);
        let message = format!("accept: `{found}` takes nothing of what is offered: {offered}");
        Self::client(StatusCode::NOT_ACCEPTABLE, None, Some("not_acceptable"), message)
    }

    /// The client has not sent its body in time.
    pub(crate) fn slow_body(limit: Duration) -> Self {
        let seconds = limit.as_secs_f64();
        let message = format!("the request body was not received within {seconds} s");
        Self::client(StatusCode::REQUEST_TIMEOUT, None, Some("request_timeout"), message)
    }

    /// There is more to do than may wait.
    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        let mut error = Self::server(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
        error.retry = Retry::After(Duration::from_secs(1));
        error
    }

    /// The same, to be tried again after another time than a second.
    pub(crate) fn retry_after(mut self, time: Duration) -> Self {
        self.retry = Retry::After(time);
        self
    }

    /// An event of a stream cannot be translated.
    pub(crate) fn bad_stream(error: &FrameError) -> Self {
        Self::upstream(StatusCode::BAD_GATEWAY, "bad_stream", &error.to_string())
    }

    /// An upstream has failed; `status` and `code` say how.
    pub(crate) fn upstream(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self::server(status, code, message)
    }

    /// What is asked for is not there, and will not be until somebody does something.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let mut error = Self::server(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        error.retry = Retry::Never;
        error
    }

    /// The client wanted what is kept, and nothing is.
    pub(crate) fn not_kept() -> Self {
        let message = "cache-control: only-if-cached: nothing is kept of this";
        let mut error = Self::server(StatusCode::GATEWAY_TIMEOUT, "not_cached", message);
        error.retry = Retry::Never;
        error
    }

    pub(crate) fn timeout(limit: Duration) -> Self {
        let message = format!("the request took longer than {} s", limit.as_secs_f64());
        Self::server(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    }

    /// A fault of ours; what it was stands in the log.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::server(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// A refusal that stays one however often it is asked for.
    fn never(
        status: StatusCode,
        kind: Kind,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, retry: Retry::Never, ..Self::client(status, None, code, message) }
    }

    fn client(
        status: StatusCode,
        param: Option<&'static str>,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self { status, kind: Kind::InvalidRequest, code, param, message, retry: Retry::Unsaid }
    }

    fn server(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: Kind::Server,
            code: Some(code),
            param: None,
            message: message.into(),
            retry: Retry::Unsaid,
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => Self::too_large(limit),
            BodyError::NoMemory => Self::overloaded(error.to_string()),
            BodyError::Broken(_) => Self::bad_request(None, error.to_string()),
            BodyError::UnknownEncoding(name) => Self::wrong_encoding(&name),
        }
    }
}

impl From<UnknownMediaType> for ApiError {
    fn from(UnknownMediaType(found): UnknownMediaType) -> Self {
        Self::wrong_content_type(&found)
    }
}

impl From<CpuError> for ApiError {
    fn from(error: CpuError) -> Self {
        match error {
            CpuError::Full => Self::overloaded(error.to_string()),
            CpuError::Lost => Self::internal(error.to_string()),
        }
    }
}

impl From<EmbedError> for ApiError {
    fn from(error: EmbedError) -> Self {
        let message = error.to_string();
        match error {
            EmbedError::Overloaded { .. } => Self::overloaded(message),
            EmbedError::TokenIds { .. }
            | EmbedError::UnknownToken { .. }
            | EmbedError::TooLong { .. } => Self::bad_request(Some("input"), message),
            EmbedError::Failed(_) | EmbedError::Lost => Self::internal(message),
        }
    }
}

impl ApiError {
    /// The message, if it should be in the log. Refusals for want of room or of a model come in floods,
    /// and are told elsewhere.
    pub(crate) fn failure(&self) -> Option<&str> {
        let is_failure = self.status.is_server_error() && self.retry == Retry::Unsaid;
        is_failure.then_some(&*self.message)
    }

    /// The same as text.
    pub(crate) fn json(&self) -> String {
        // A struct of strings serializes.
        serde_json::to_string(&self.body()).unwrap_or_default()
    }

    fn body(&self) -> Body<'_> {
        let Self { kind, code, param, message, .. } = self;
        Body { error: Object { message, kind: *kind, param: *param, code: *code } }
    }

    /// Why the model that the client named cannot be used.
    pub(crate) fn no_model(name: &str, why: Unavailable<'_>) -> Self {
        match why {
            Unavailable::Unknown => Self::unknown_model(name),
            Unavailable::Missing(missing) => Self::unavailable(missing.to_string()),
        }
    }
}

/// As much of a header as is told back.
fn shown(header: &str) -> &str {
    // Headers that are text are ASCII.
    header.get(..SHOWN).unwrap_or(header)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let Self { status, retry, .. } = self;
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The rest of the body may come for a long time yet.
        if status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        match retry {
            Retry::Unsaid => {}
            Retry::After(time) => {
                let millis = millis(time);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
                headers.insert("retry-after-ms", HeaderValue::from(millis));
            }
            Retry::Never => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
        }
        // For the log, where the request's id is known, and for who puts it into other words.
        response.extensions_mut().insert(self);
        response
    }
}
