//! Errors in the words of the API that a client speaks: OpenAI's chat, its Responses, and Anthropic's
//! Messages. They differ in the event that ends a stream, and Messages also in whole errors.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use thermograph_codec::events;

use super::error::ApiError;

/// The form of errors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialect {
    /// `{"error":{"message","type","param","code"}}`, in streams as data.
    Chat,
    /// The form of `Chat`; in streams an event `error` with the fields of the error beside its `type`
    /// (<https://platform.openai.com/docs/api-reference/responses-streaming/error>).
    Responses,
    /// `{"type":"error","error":{"type","message"}}`, in streams in an event `error`
    /// (<https://docs.anthropic.com/en/api/errors>).
    Messages,
}

/// An error of the Responses API in a stream.
#[derive(Serialize)]
struct ResponsesError<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    code: Option<&'a Value>,
    message: &'a Value,
    param: Option<&'a Value>,
    sequence_number: u64,
}

impl Dialect {
    /// The body of an error.
    pub(crate) fn body(self, error: &ApiError) -> String {
        let json = error.json();
        match self {
            Self::Chat | Self::Responses => json,
            Self::Messages => messages(error.status(), json.as_bytes()),
        }
    }

    /// An error as the last event of a stream; `number` is that of events before it.
    pub(crate) fn event(self, error: &ApiError, number: u64) -> Bytes {
        self.event_of(error.status(), error.json().as_bytes(), number)
    }

    /// An error that is JSON already, of this server or of an upstream, as the last event of a stream.
    pub(crate) fn event_of(self, status: StatusCode, error: &[u8], number: u64) -> Bytes {
        match self {
            Self::Chat => events::event("", error),
            Self::Responses => events::event("error", responses(error, number).as_bytes()),
            Self::Messages => events::event("error", messages(status, error).as_bytes()),
        }
    }
}

fn responses(error: &[u8], number: u64) -> String {
    let error = object_of(error);
    let field = |name: &str| error.get(name).filter(|value| value.is_string());
    let error = ResponsesError {
        kind: "error",
        code: field("code").or_else(|| field("type")),
        message: error.get("message").unwrap_or(&error),
        param: field("param"),
        sequence_number: number,
    };
    // Strings serialize.
    serde_json::to_string(&error).unwrap_or_default()
}

fn messages(status: StatusCode, error: &[u8]) -> String {
    if let Ok(whole) = serde_json::from_slice::<Value>(error)
        && whole.get("type").and_then(Value::as_str) == Some("error")
    {
        return whole.to_string();
    }
    let error = object_of(error);
    let kind = match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    };
    let message = error.get("message").unwrap_or(&error);
    let mut told = json!({"type": kind, "message": message});
    // Codes tell this server's errors apart; clients ignore fields that they do not know.
    if let Some(code) = error.get("code").filter(|code| code.is_string()) {
        told["code"] = code.clone();
    }
    json!({"type": "error", "error": told}).to_string()
}

/// The error object in the body of an error; of one that is no JSON, its text.
fn object_of(error: &[u8]) -> Value {
    match serde_json::from_slice(error) {
        Ok(Value::Object(mut whole)) => whole.remove("error").unwrap_or(Value::Object(whole)),
        Ok(other) => other,
        Err(_) => String::from_utf8_lossy(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(dialect: Dialect, status: u16, error: &str) -> String {
        let status = StatusCode::from_u16(status).expect("a status");
        let event = dialect.event_of(status, error.as_bytes(), 7);
        String::from_utf8(event.to_vec()).expect("text")
    }

    #[test]
    fn errors_have_the_form_of_the_api() {
        let error = ApiError::upstream(StatusCode::BAD_GATEWAY, "broken", "it broke");
        assert_eq!(Dialect::Chat.body(&error), Dialect::Responses.body(&error));
        assert_eq!(
            Dialect::Messages.body(&error),
            r#"{"error":{"code":"broken","message":"it broke","type":"api_error"},"type":"error"}"#
        );
        assert_eq!(
            Dialect::Chat.event(&error, 7),
            format!("data: {}\n\n", Dialect::Chat.body(&error))
        );
        assert_eq!(
            Dialect::Responses.event(&error, 7),
            "event: error\ndata: {\"type\":\"error\",\"code\":\"broken\",\"message\":\"it broke\",\"param\":null,\"sequence_number\":7}\n\n"
        );
    }

    #[test]
    fn errors_of_upstreams_are_put_into_other_words_where_they_have_to() {
        let own = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let other = r#"{"error":{"message":"no","type":"requests","param":null,"code":null}}"#;
        assert_eq!(event(Dialect::Chat, 429, other), format!("data: {other}\n\n"));
        assert!(event(Dialect::Messages, 529, own).contains(r#""type":"overloaded_error""#));
        let messages = event(Dialect::Messages, 429, other);
        assert!(messages.starts_with("event: error\ndata: {"), "{messages}");
        assert!(messages.contains(r#""type":"rate_limit_error""#), "{messages}");
        let responses = event(Dialect::Responses, 429, other);
        assert!(responses.contains(r#""code":"requests","message":"no""#), "{responses}");
        let text = event(Dialect::Responses, 502, "out of\nmemory");
        assert!(text.contains(r#""message":"out of\nmemory""#), "{text}");
    }
}
