//! Errors in `OpenAI`'s form.

use std::{borrow::Cow, fmt};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde_json::json;

use super::{
    behaviour::{BadChange, Behaviour},
    bounds::Whole,
};

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: Option<&'static str>,
    param: Option<Cow<'static, str>>,
    message: String,
    /// Seconds after which to try again.
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: None, param: None, message: message.into(), retry_after: None }
    }

    /// The request's content is not allowed; `param` names the field.
    pub(super) fn bad_request(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { param: param.map(Cow::from), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// A field has a value that is not allowed.
    pub(super) fn not_allowed(
        field: &'static str,
        value: impl fmt::Display,
        allowed: &str,
    ) -> Self {
        Self::bad_request(Some(field), format!("{field}: {value} is not allowed: {allowed}"))
    }

    /// A field is missing.
    pub(super) fn missing(field: &'static str) -> Self {
        Self::bad_request(Some(field), format!("missing field `{field}`"))
    }

    /// The behaviour cannot be changed so.
    pub(super) fn bad_change(bad: BadChange) -> Self {
        let refusal = Self::bad_request(None, bad.to_string());
        match bad {
            BadChange::NoObject => refusal,
            BadChange::Field { field, .. } => Self { param: field.map(Cow::from), ..refusal },
        }
    }

    /// The body is no JSON, or not of the form that is wanted.
    pub(super) fn bad_json(error: &serde_json::Error) -> Self {
        let what = if error.is_data() { "" } else { "the body is not JSON: " };
        Self::bad_request(None, format!("{what}{error}"))
    }

    pub(super) fn unknown_model(name: &str) -> Self {
        let message = format!("the model `{name}` does not exist");
        let (code, param) = (Some("model_not_found"), Some("model".into()));
        Self { code, param, ..Self::new(StatusCode::NOT_FOUND, message) }
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        let code = Some("request_too_large");
        Self { code, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, message) }
    }

    /// The one that `error_rate` makes.
    pub(super) fn as_told(behaviour: &Behaviour) -> Self {
        let status = u16::try_from(behaviour.error_status.get()).ok();
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let retry_after = behaviour.retry_after.map(Whole::get);
        let refusal = Self::new(status.unwrap_or_default(), "refused, as the mock was told");
        Self { code: Some("mock_error"), retry_after, ..refusal }
    }

    /// The mock stops while a request hangs.
    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the mock stops")
    }

    /// A fault of the mock's own.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(super) fn not_recorded() -> Self {
        let message = "no request is recorded: `record` is off, or none has come since it is on";
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// `Anthropic`'s `type` of an error.
    fn anthropic_kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }

    /// `OpenAI`'s `type` of an error.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

/// Form of an error.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
}

/// There is no such path.
pub(super) async fn unknown(method: Method, uri: Uri) -> Refusal {
    let code = Some("unknown_url");
    Refusal {
        code,
        ..Refusal::new(StatusCode::NOT_FOUND, format!("there is no {method} {}", uri.path()))
    }
}

/// The path does not answer to the method.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let message = format!("{} does not answer to {method}", uri.path());
    let code = Some("method_not_allowed");
    Refusal { code, ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message) }
}

impl Refusal {
    pub(super) fn respond(self, dialect: Dialect) -> Response {
        let Self { status, code, param, message, .. } = &self;
        let body = match dialect {
            Dialect::OpenAi => {
                let kind = self.kind();
                let error =
                    json!({ "message": message, "type": kind, "param": param, "code": code });
                json!({ "error": error })
            }
            Dialect::Anthropic => {
                let error = json!({ "type": self.anthropic_kind(), "message": message });
                json!({ "type": "error", "error": error })
            }
        };
        let mut response = (*status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            headers.insert("retry-after-ms", HeaderValue::from(seconds * 1000));
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.respond(Dialect::OpenAi)
    }
}
