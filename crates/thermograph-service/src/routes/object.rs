//! Validation of bodies that have to be JSON objects.
//!
//! serde reads a struct from an array too, field by field in their order: `["gpt", true]` would be a
//! request.

use crate::error::ApiError;

/// Rejects a body that is JSON of another kind.
pub(super) fn check(json: &[u8]) -> Result<(), ApiError> {
    other_kind(json).map_or(Ok(()), |kind| {
        let message = format!("the body is {kind}: expected a JSON object");
        Err(ApiError::bad_request(None, message))
    })
}

/// Kind of a JSON text, by its first byte, if it is no object; `None` for an object, and for a text
/// that is no JSON.
fn other_kind(json: &[u8]) -> Option<&'static str> {
    match json.trim_ascii_start() {
        [b'[', ..] => Some("an array"),
        [b'"', ..] => Some("a string"),
        [b'-' | b'0'..=b'9', ..] => Some("a number"),
        [b't', b'r', b'u', b'e', ..] | [b'f', b'a', b'l', b's', b'e', ..] => Some("a boolean"),
        [b'n', b'u', b'l', b'l', ..] => Some("null"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_kinds_are_known_by_their_first_byte() {
        for json in [r#"["mock", true]"#, " \r\n\t\"a\"", "-1", "0", "true", "false", "null"] {
            assert!(other_kind(json.as_bytes()).is_some(), "{json}");
        }
        for json in ["{}", " {\"a\":[]}", "", "no JSON", "\u{feff}[]"] {
            assert_eq!(other_kind(json.as_bytes()), None, "{json}");
        }
    }
}
