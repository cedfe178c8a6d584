//! The numbers in a request that bound how many tokens its answer may have.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::error::ApiError;

/// A whole number; `None` if there is none, or a negative one, with which some servers mean that there
/// is no bound. A number too large for 64 bits is the largest.
pub(super) fn whole(name: &'static str, value: Option<&RawValue>) -> Result<Option<u64>, ApiError> {
    let Some(text) = value.map(RawValue::get).filter(|text| *text != "null") else {
        return Ok(None);
    };
    if let Ok(number) = text.parse() {
        return Ok(Some(number));
    }
    // JSON's forms of numbers, which servers take for whole ones where they are: `1e4`, `10.0`.
    let is_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    match text.parse::<f64>().ok().filter(|_| is_number) {
        Some(number) if number < 0.0 => Ok(None),
        // A cast saturates.
        Some(number) if number.fract() == 0.0 || number.is_infinite() => Ok(Some(number as u64)),
        _ => {
            let shown: String = text.chars().take(32).collect();
            let message = format!("{name}: `{shown}` is not allowed: a whole number");
            Err(ApiError::bad_request(Some(name), message))
        }
    }
}

/// Prompts in a `prompt`: a text, a list of token ids, or a list of either.
pub(super) fn prompts(prompt: Option<&RawValue>) -> u64 {
    let text = prompt.map_or("", RawValue::get);
    // The first entry says of which kind all are.
    let is_list =
        text.strip_prefix('[').is_some_and(|list| list.trim_start().starts_with(['"', '[']));
    if !is_list {
        return 1;
    }
    serde_json::from_str::<Vec<IgnoredAny>>(text).map_or(1, |entries| entries.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    #[test]
    fn numbers_are_whole_in_any_form() {
        let read = |json| whole("n", Some(&raw(json)));
        for (json, expected) in [
            ("7", Some(7)),
            ("10000.0", Some(10_000)),
            ("1e4", Some(10_000)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("1e400", Some(u64::MAX)),
            ("-1", None),
            ("null", None),
        ] {
            assert_eq!(read(json).expect(json), expected, "{json}");
        }
        for json in ["0.5", "\"7\"", "[7]", "true", "{}"] {
            let error = format!("{:?}", read(json).expect_err(json));
            assert!(error.contains("a whole number"), "{error}");
        }
        assert_eq!(whole("n", None).expect("none"), None);
    }

    #[test]
    fn prompts_are_counted() {
        for (json, expected) in
            [("\"a\"", 1), ("[1,2,3]", 1), ("[]", 1), ("[ \"a\",\"b\"]", 2), ("[[1],[2],[3]]", 3)]
        {
            assert_eq!(prompts(Some(&raw(json))), expected, "{json}");
        }
        assert_eq!(prompts(None), 1);
    }
}
