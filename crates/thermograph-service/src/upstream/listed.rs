//! Models as upstreams list them, and as they are listed at `/v1/models`.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Map, Value};
use thermograph_common::is_name;

/// A model as it is listed: OpenAI's object, with the fields that an upstream has beside.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Listed {
    pub(crate) id: String,
    object: &'static str,
    /// Seconds since 1970; 0 if unknown.
    created: u64,
    owned_by: String,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Models of an upstream.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct List {
    pub(super) models: Vec<Listed>,
    /// Number of entries that are no models.
    pub(super) unread: usize,
}

impl Listed {
    pub(crate) fn new(id: &str, created: u64) -> Self {
        let owned_by = "thermograph".to_owned();
        Self { id: id.to_owned(), object: "model", created, owned_by, others: Map::new() }
    }

    /// A model of the configuration, of which it is not known when it was made.
    pub(crate) fn own(id: &str) -> Self {
        Self::new(id, 0)
    }

    /// Reads an entry of a list; fields that are none of their kind are as if they were missing.
    fn read(entry: Value) -> Option<Self> {
        let mut fields = match entry {
            Value::Object(fields) => fields,
            Value::String(id) => Map::from_iter([("id".to_owned(), id.into())]),
            _ => return None,
        };
        let Some(Value::String(id)) = fields.remove("id") else { return None };
        if !is_name(&id) {
            return None;
        }
        let owned_by = match fields.remove("owned_by") {
            Some(Value::String(name)) => name,
            _ => String::new(),
        };
        let created = fields.remove("created").and_then(|created| seconds(&created));
        fields.remove("object");
        let created = created.unwrap_or_default();
        Some(Self { id, object: "model", created, owned_by, others: fields })
    }
}

/// Reads an upstream's list: OpenAI's object, or the list alone. `None` if it is neither.
pub(super) fn read(body: &[u8]) -> Option<List> {
    let entries = match serde_json::from_slice(body).ok()? {
        Value::Array(entries) => entries,
        Value::Object(mut list) => match list.remove("data")? {
            Value::Array(entries) => entries,
            // A server without models.
            Value::Null => Vec::new(),
            _ => return None,
        },
        _ => return None,
    };
    let (mut list, mut known) = (List::default(), HashSet::new());
    for entry in entries {
        match Listed::read(entry) {
            Some(model) if known.insert(model.id.clone()) => list.models.push(model),
            Some(_) => {}
            None => list.unread += 1,
        }
    }
    Some(list)
}

/// Seconds since 1970, in the forms in which servers write them.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => {
            // A cast saturates: before 1970 is 0.
            number.as_u64().or_else(|| number.as_f64().map(|seconds| seconds as u64))
        }
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    // Clients read 64 bits with a sign.
    seconds.filter(|seconds| i64::try_from(*seconds).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_the_forms_of_servers() {
        for (body, expected) in [
            (r#"{"data":null}"#, vec![]),
            (r#"{"object":"list","data":[]}"#, vec![]),
            (r#"[{"id":"a"}]"#, vec![("a", 0)]),
            (r#"{"data":["a"]}"#, vec![("a", 0)]),
            (r#"{"data":[{"id":"a","created":null,"owned_by":null}]}"#, vec![("a", 0)]),
            (r#"{"data":[{"id":"a","created":17.9,"owned_by":7}]}"#, vec![("a", 17)]),
            (
                r#"{"data":[{"id":"a","created":"17"},{"id":"b","created":"now"}]}"#,
                vec![("a", 17), ("b", 0)],
            ),
            (r#"[{"id":"a","created":1e300}]"#, vec![("a", 0)]),
            (r#"{"data":[{"id":"a","created":-1},{"id":"a","created":5}]}"#, vec![("a", 0)]),
        ] {
            let list = read(body.as_bytes()).expect(body);
            let found: Vec<_> = list.models.iter().map(|m| (m.id.as_str(), m.created)).collect();
            assert_eq!((found, list.unread), (expected, 0), "{body}");
        }
        let list =
            read(br#"{"data":[{"id":7},3,{"name":"a"},{"id":""},{"id":"b"}]}"#).expect("a list");
        assert_eq!((list.models.len(), list.unread), (1, 4));
        for body in ["", "{}", "7", r#"{"data":7}"#, r#"{"error":{"message":"no"}}"#] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn unknown_fields_are_kept() {
        let body = br#"{"data":[{"id":"a","object":"m","max_model_len":4096,"meta":{"n_ctx":1}}]}"#;
        let list = read(body).expect("a list");
        assert_eq!(
            serde_json::to_value(&list.models[0]).expect("JSON"),
            serde_json::json!({
                "id": "a", "object": "model", "created": 0, "owned_by": "",
                "max_model_len": 4096, "meta": { "n_ctx": 1 },
            })
        );
    }
}
