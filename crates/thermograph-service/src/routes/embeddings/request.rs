//! What a client asks for: OpenAI's `CreateEmbeddingRequest`.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};
use thermograph_codec::Vectors;
use thermograph_engine::{Input, MAX_INPUTS, TooLong};

use crate::error::ApiError;

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddingsRequest {
    pub(super) model: String,
    pub(super) input: Inputs,
    /// Absent means numbers in JSON, as in OpenAI's reference, whose client libraries ask for base64
    /// themselves where their user names no format; in the other codecs it means bytes.
    #[serde(default)]
    pub(super) encoding_format: Option<EncodingFormat>,
    #[serde(default)]
    pub(super) dimensions: Option<u64>,
    /// Field of text-embeddings-inference: false refuses an input that is longer than the model
    /// reads, where absent means that only its beginning is read.
    #[serde(default)]
    pub(super) truncate: Option<bool>,
    /// The client's own user, for the records of upstreams.
    #[serde(default)]
    pub(super) user: Option<String>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EncodingFormat {
    /// As numbers.
    Float,
    /// As base64 of little-endian 32-bit floats.
    Base64,
}

/// A string, a list of strings, a list of token ids, or a list of such lists.
#[derive(Debug, PartialEq)]
pub(super) struct Inputs(pub(super) Vec<Input>);

/// Reads and checks a body.
pub(super) fn parse(bytes: &[u8]) -> Result<EmbeddingsRequest, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let request: EmbeddingsRequest =
        serde_path_to_error::deserialize(&mut json).map_err(|error| refused(&error))?;
    json.end()
        .map_err(|error| ApiError::bad_request(None, format!("the body is not JSON: {error}")))?;
    check_inputs(&request.input.0)?;
    Ok(request)
}

/// How vectors that come as numbers are to be written in a codec that has bytes; none where nothing
/// is to be done about them. What is wrong with the request, the upstream says.
pub(super) fn vectors(bytes: &[u8]) -> Option<Vectors> {
    #[derive(Deserialize)]
    struct Glance {
        #[serde(default)]
        encoding_format: Option<EncodingFormat>,
    }
    let glance: Glance = serde_json::from_slice(bytes).ok()?;
    match glance.encoding_format {
        None => Some(Vectors::Packed),
        Some(EncodingFormat::Float) => Some(Vectors::Floats),
        Some(EncodingFormat::Base64) => None,
    }
}

/// The dimensions asked for, or all that the model has.
pub(super) fn check_dimensions(asked: Option<u64>, most: usize) -> Result<usize, ApiError> {
    let Some(asked) = asked else { return Ok(most) };
    usize::try_from(asked).ok().filter(|asked| (1..=most).contains(asked)).ok_or_else(|| {
        let message = format!("dimensions: {asked} is not allowed: 1 to {most}");
        ApiError::bad_request(Some("dimensions"), message)
    })
}

fn check_inputs(inputs: &[Input]) -> Result<(), ApiError> {
    let refused = |message: String| Err(ApiError::bad_request(Some("input"), message));
    if inputs.is_empty() || inputs.len() > MAX_INPUTS {
        let found = inputs.len();
        return refused(format!("input: {found} entries are not allowed: 1 to {MAX_INPUTS}"));
    }
    match inputs.iter().position(Input::is_empty) {
        None => Ok(()),
        Some(0) if inputs.len() == 1 => {
            refused("input: empty; at least one character or token id".to_owned())
        }
        Some(index) => {
            refused(format!("input[{index}]: empty; at least one character or token id"))
        }
    }
}

fn refused(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let path = error.path().to_string();
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return ApiError::bad_request(None, format!("the body is not JSON: {inner}"));
    }
    let fields = ["model", "input", "encoding_format", "dimensions", "truncate", "user"];
    let param = fields.into_iter().find(|field| path.starts_with(field));
    let place = if path == "." { String::new() } else { format!("{path}: ") };
    ApiError::bad_request(param, format!("{place}{inner}"))
}

impl EmbeddingsRequest {
    pub(super) fn too_long(&self) -> TooLong {
        match self.truncate {
            Some(false) => TooLong::Reject,
            Some(true) | None => TooLong::Truncate,
        }
    }
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a list of strings, a list of token ids, or a list of lists of token ids")
            }

            fn visit_str<E>(self, text: &str) -> Result<Inputs, E> {
                Ok(Inputs(vec![Input::from(text)]))
            }

            fn visit_string<E>(self, text: String) -> Result<Inputs, E> {
                Ok(Inputs(vec![Input::Text(text)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inputs, A::Error> {
                let mut inputs = Vec::new();
                let mut ids = Vec::new();
                while let Some(entry) = list.next_element()? {
                    match entry {
                        Entry::Id(id) => ids.push(id),
                        Entry::Input(input) => inputs.push(input),
                    }
                    if !ids.is_empty() && !inputs.is_empty() {
                        return Err(serde::de::Error::custom(
                            "a list holds either token ids or inputs, not both",
                        ));
                    }
                }
                if !ids.is_empty() {
                    inputs.push(Input::Tokens(ids));
                }
                Ok(Inputs(inputs))
            }
        }
        deserializer.deserialize_any(All)
    }
}

/// An entry of the list: a whole input, or a token id of the only one.
enum Entry {
    Id(u32),
    Input(Input),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a token id, or a list of token ids")
            }

            fn visit_str<E>(self, text: &str) -> Result<Entry, E> {
                Ok(Entry::Input(Input::from(text)))
            }

            fn visit_string<E>(self, text: String) -> Result<Entry, E> {
                Ok(Entry::Input(Input::Text(text)))
            }

            fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<Entry, E> {
                u32::try_from(id)
                    .map(Entry::Id)
                    .map_err(|_| E::custom(format!("token id {id} is too large")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entry, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = list.next_element()? {
                    ids.push(id);
                }
                Ok(Entry::Input(Input::Tokens(ids)))
            }
        }
        deserializer.deserialize_any(One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(json: &str) -> Result<Vec<Input>, String> {
        let body = format!(r#"{{"model": "m", "input": {json}}}"#);
        parse(body.as_bytes()).map(|request| request.input.0).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn an_input_has_four_forms() {
        assert_eq!(inputs(r#""a""#), Ok(vec!["a".into()]));
        assert_eq!(inputs(r#"["a", "b\n"]"#), Ok(vec!["a".into(), "b\n".into()]));
        assert_eq!(inputs("[1, 2]"), Ok(vec![Input::Tokens(vec![1, 2])]));
        assert_eq!(
            inputs("[[1], [2, 3]]"),
            Ok(vec![Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])])
        );
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        for (json, named) in [
            ("[]", "0 entries"),
            (r#""""#, "input: empty"),
            (r#"["a", ""]"#, "input[1]: empty"),
            ("[[]]", "input: empty"),
            ("null", "input: invalid type: null"),
            ("[1, -2]", "input[1]: invalid type: integer `-2`"),
            ("[1, \"a\"]", "not both"),
            ("[[1], 2]", "not both"),
            ("[4294967296]", "input[0]: token id 4294967296"),
            ("{}", "input: invalid type: map"),
        ] {
            let error = inputs(json).expect_err(json);
            assert!(error.contains(named), "{json}: {error}");
        }
        let many = format!("[{}]", vec!["\"a\""; MAX_INPUTS + 1].join(","));
        assert!(
            inputs(&many)
                .expect_err("too many")
                .contains("2049 entries are not allowed: 1 to 2048")
        );
    }

    #[test]
    fn fields_are_named_with_what_is_allowed() {
        for (body, named) in [
            (r#"{"input": "a"}"#, "missing field `model`"),
            (r#"{"model": 1, "input": "a"}"#, "model: invalid type: integer `1`"),
            (r#"{"model": "m", "input": "a", "encoding_format": "hex"}"#, "`float` or `base64`"),
            (
                r#"{"model": "m", "input": "a", "truncate": "END"}"#,
                "truncate: invalid type: string",
            ),
            (r#"{"model": "m", "input": "a", "dimension": 3}"#, "unknown field `dimension`"),
            (r#"{"model": "m", "input": "a"} x"#, "not JSON"),
            ("", "not JSON"),
        ] {
            let error = format!("{:?}", parse(body.as_bytes()).expect_err(body));
            assert!(error.contains(named), "{body}: {error}");
        }
        assert!(check_dimensions(Some(0), 384).is_err());
        assert!(check_dimensions(Some(385), 384).is_err());
        assert_eq!(check_dimensions(Some(7), 384).expect("allowed"), 7);
        assert_eq!(check_dimensions(None, 384).expect("allowed"), 384);
    }

    #[test]
    fn vectors_are_packed_unless_something_else_is_said() {
        let of = |field: &str| vectors(format!(r#"{{"model":"m"{field}}}"#).as_bytes());
        assert_eq!(of(""), Some(Vectors::Packed));
        assert_eq!(of(r#","encoding_format":null"#), Some(Vectors::Packed));
        assert_eq!(of(r#","encoding_format":"float""#), Some(Vectors::Floats));
        assert_eq!(of(r#","encoding_format":"base64""#), None);
        assert_eq!(of(r#","encoding_format":"hex""#), None);
    }
}
