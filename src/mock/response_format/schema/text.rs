//! Strings that fit a schema.

use serde_json::{Map, Value};

use super::{Unsupported, count, only};

/// Longest string.
const MAX_LENGTH: usize = 1000;
const WORD: &str = "Wärme";

/// A string of its format and length.
pub(super) fn string(schema: &Map<String, Value>) -> Result<Value, Unsupported> {
    only(schema, &["type", "format", "minLength", "maxLength"])?;
    let least = count(schema, "minLength")?.unwrap_or(0);
    let most = count(schema, "maxLength")?.unwrap_or(usize::MAX);
    if least > most || least > MAX_LENGTH {
        return Err(Unsupported::Nothing("string"));
    }
    let sample = schema.get("format").and_then(Value::as_str).and_then(sample);
    if let Some(sample) = sample {
        let fits = (least..=most).contains(&sample.len());
        return fits.then(|| sample.into()).ok_or(Unsupported::Nothing("string"));
    }
    let length = least.max(WORD.chars().count()).min(most);
    Ok(WORD.chars().cycle().take(length).collect::<String>().into())
}

/// A string of a format; `None` if the format says nothing here.
fn sample(format: &str) -> Option<&'static str> {
    Some(match format {
        "date" => "2026-01-31",
        "date-time" => "2026-01-31T12:00:00Z",
        "time" => "12:00:00Z",
        "duration" => "PT1H",
        "email" => "someone@example.com",
        "hostname" => "example.com",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uri" => "https://example.com/",
        "uuid" => "123e4567-e89b-42d3-a456-426614174000",
        _ => return None,
    })
}
