//! The tokens that an upstream says it used.

use std::sync::LazyLock;

use memchr::memmem::FinderRev;
use serde::Deserialize;

/// OpenAI's `usage`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub(crate) struct Usage {
    /// Tokens of the request.
    pub(crate) prompt_tokens: u64,
    /// Tokens of the answer.
    pub(crate) completion_tokens: u64,
}

/// Its name with quotes: within a string of JSON they would have a backslash before them.
static NAME: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"\"usage\""));

impl Usage {
    /// The last one in an answer or an event, without reading all of it.
    pub(crate) fn find(bytes: &[u8]) -> Option<Self> {
        let after = NAME.rfind(bytes)? + NAME.needle().len();
        let value = bytes[after..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        if value.first() != Some(&b'{') {
            return None;
        }
        serde_json::Deserializer::from_slice(value).into_iter().next()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_where_it_is_and_nowhere_else() {
        let usage =
            |prompt_tokens, completion_tokens| Some(Usage { prompt_tokens, completion_tokens });
        let whole = br#"{"choices":[],"usage" : {"prompt_tokens":3,"completion_tokens":4,
            "completion_tokens_details":{"reasoning_tokens":1},"total_tokens":7},"x":1}"#;
        assert_eq!(Usage::find(whole), usage(3, 4));
        assert_eq!(Usage::find(br#"{"usage":{"prompt_tokens":3,"total_tokens":3}}"#), usage(3, 0));
        let others: [&[u8]; 5] = [
            b"",
            br#"{"usage":null}"#,
            br#"{"content":"\"usage\":{\"prompt_tokens\":9}"}"#,
            br#"{"usage"#,
            br#"{"usage":{"prompt_tokens":"#,
        ];
        for other in others {
            assert_eq!(Usage::find(other), None);
        }
    }
}
