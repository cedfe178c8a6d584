//! The status that an error in a 200 speaks of.

use std::sync::LazyLock;

use http::StatusCode;
use memchr::memmem::Finder;
use serde::Deserialize as _;
use serde_json::{Value, value::RawValue};

/// Status of an error that names none.
const UNNAMED: StatusCode = StatusCode::BAD_GATEWAY;

/// Words in whatever is called an error, in the forms that are known.
static WORDS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [&b"\"error\""[..], b"\"response."].map(Finder::new));

/// Returns whether JSON may be an error, and so has to be parsed.
pub(crate) fn may_be_error(json: &[u8]) -> bool {
    WORDS.iter().any(|word| word.find(json).is_some())
}

/// The status that the value of `error` speaks of, in a `code` or a `status` that is a number or by its
/// kind; `None` if the value says nothing: some servers add an empty one to good answers.
pub(super) fn status_of(error: &RawValue) -> Option<StatusCode> {
    // Raw values are JSON.
    let error = Value::deserialize(error).ok().filter(says_something)?;
    let Value::Object(object) = error else { return Some(UNNAMED) };
    let values = ["code", "status", "type"].iter().filter_map(|name| object.get(*name));
    Some(status_in(values))
}

/// The status that values of an error speak of that stand beside others.
pub(super) fn status_named<const N: usize>(values: [Option<&RawValue>; N]) -> StatusCode {
    let values = values.into_iter().flatten().filter_map(|value| Value::deserialize(value).ok());
    status_in(values.collect::<Vec<_>>().iter())
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(says_something),
        Value::Object(object) => object.values().any(says_something),
    }
}

/// The first number among them that is the status of an error; else that of the first name.
fn status_in<'a>(values: impl Iterator<Item = &'a Value> + Clone) -> StatusCode {
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| u16::try_from(number).ok()),
    };
    let numbers = values.clone().filter_map(number).filter(|number| (400..600).contains(number));
    let names = values.filter_map(Value::as_str).filter_map(status_of_name);
    let status = numbers.chain(names).next().and_then(|status| StatusCode::from_u16(status).ok());
    status.unwrap_or(UNNAMED)
}

/// The status of a kind of error, in the words of OpenAI, Anthropic and servers that follow them.
fn status_of_name(name: &str) -> Option<u16> {
    Some(match name {
        "invalid_request_error"
        | "invalid_prompt"
        | "context_length_exceeded"
        | "BadRequestError" => 400,
        "authentication_error" | "invalid_api_key" | "AuthenticationError" => 401,
        "permission_error" | "PermissionDeniedError" => 403,
        "not_found_error" | "model_not_found" | "NotFoundError" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" | "RateLimitError" => 429,
        "server_error" | "api_error" | "InternalServerError" => 500,
        "overloaded_error" => 503,
        "timeout_error" => 504,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_that_of_the_number_or_of_the_name() {
        for (json, status) in [
            (r#"{"code":503}"#, Some(503)),
            (r#"{"code":"500"}"#, Some(500)),
            (r#"{"code":7,"status":429}"#, Some(429)),
            (r#"{"code":null,"type":"invalid_request_error"}"#, Some(400)),
            (r#"{"code":"rate_limit_exceeded","type":"x"}"#, Some(429)),
            (r#"{"type":"server_error","status":503}"#, Some(503)),
            (r#"{"code":200}"#, Some(502)),
            (r#"{"code":99999999}"#, Some(502)),
            (r#""x""#, Some(502)),
            ("true", Some(502)),
            (r#"["x"]"#, Some(502)),
            (r#"{"code":0,"message":"","param":null}"#, None),
            ("[null]", None),
            ("0", None),
            ("\"\"", None),
        ] {
            let error: &RawValue = serde_json::from_str(json).expect("JSON");
            let found = status_of(error).map(|status| status.as_u16());
            assert_eq!(found, status, "{json}");
        }
    }
}
