//! Instances of a JSON schema: those that are simple to make.
//!
//! A keyword that is not known here is refused, so that an instance that is made does fit.

mod number;
mod text;

use serde_json::{Map, Value};
use thiserror::Error;

/// Deepest nesting of an instance.
const MAX_DEPTH: usize = 32;
/// Most values of an instance.
const MAX_VALUES: usize = 1000;
/// Depth from which an instance has only what it must have: a schema may refer to itself.
const LARGE_DEPTH: usize = 4;

const ANNOTATIONS: [&str; 13] = [
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "definitions",
    "default",
    "deprecated",
    "description",
    "example",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// A schema of which no instance can be made.
#[derive(Debug, Error, PartialEq)]
pub(super) enum Unsupported {
    #[error("the keyword `{0}` is not supported by the mock")]
    Keyword(String),
    #[error("`{keyword}`: `{value}` is not supported by the mock")]
    Value { keyword: &'static str, value: Value },
    #[error("no {0} that fits can be made")]
    Nothing(&'static str),
    #[error(
        "its instances are nested deeper than {MAX_DEPTH} levels or have more than {MAX_VALUES} values"
    )]
    TooLarge,
}

/// An instance of a schema.
pub(super) fn instance(schema: &Value) -> Result<Value, Unsupported> {
    Generator { root: schema, values: 0 }.value(schema, 0)
}

struct Generator<'a> {
    root: &'a Value,
    /// Values made so far, those that were given up among them.
    values: usize,
}

impl<'a> Generator<'a> {
    fn value(&mut self, schema: &'a Value, depth: usize) -> Result<Value, Unsupported> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return Err(Unsupported::TooLarge);
        }
        let schema = match schema {
            Value::Bool(true) => return Ok(Value::Null),
            Value::Object(schema) => schema,
            other => return Err(unsupported("schema", other)),
        };
        if let Some(constant) = schema.get("const") {
            return only(schema, &["const", "type"]).map(|()| constant.clone());
        }
        if let Some(values) = schema.get("enum") {
            only(schema, &["enum", "type"])?;
            let first = values.as_array().and_then(|values| values.first());
            return first.cloned().ok_or_else(|| unsupported("enum", values));
        }
        if let Some(reference) = schema.get("$ref") {
            only(schema, &["$ref"])?;
            let target = reference.as_str().and_then(|text| text.strip_prefix('#'));
            let target = target.and_then(|pointer| self.root.pointer(pointer));
            let target = target.ok_or_else(|| unsupported("$ref", reference))?;
            return self.value(target, depth + 1);
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            if let Some(branches) = schema.get(keyword) {
                only(schema, &[keyword, "type"])?;
                return self.branch(keyword, branches, depth);
            }
        }
        self.typed(schema, depth)
    }

    /// An instance of the first branch that has one.
    fn branch(
        &mut self,
        keyword: &'static str,
        branches: &'a Value,
        depth: usize,
    ) -> Result<Value, Unsupported> {
        let mut list: Vec<_> = branches.as_array().into_iter().flatten().collect();
        // An instance of one schema of several may fit none or too many of the others.
        if list.is_empty() || (keyword == "allOf" && list.len() > 1) {
            return Err(unsupported(keyword, branches));
        }
        if depth >= LARGE_DEPTH {
            list.sort_by_key(|branch| {
                ["$ref", "properties", "items"].iter().any(|nested| branch.get(nested).is_some())
            });
        }
        let mut refusal = Unsupported::TooLarge;
        for branch in list {
            match self.value(branch, depth + 1) {
                Ok(value) => return Ok(value),
                Err(unsupported) => refusal = unsupported,
            }
        }
        Err(refusal)
    }

    fn typed(
        &mut self,
        schema: &'a Map<String, Value>,
        depth: usize,
    ) -> Result<Value, Unsupported> {
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => {
                let is_last_resort = |kind: &&Value| *kind == "null";
                let prefers_null = depth >= LARGE_DEPTH;
                let preferred = kinds.iter().find(|kind| is_last_resort(kind) == prefers_null);
                preferred.or(kinds.first()).and_then(Value::as_str).unwrap_or("")
            }
            Some(kind) => kind.as_str().unwrap_or(""),
            None if schema.contains_key("properties") => "object",
            None if schema.contains_key("items") => "array",
            None => "string",
        };
        match kind {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => text::string(schema),
            "integer" | "number" => number::number(schema, kind == "integer"),
            "boolean" => only(schema, &["type"]).map(|()| true.into()),
            "null" => only(schema, &["type"]).map(|()| Value::Null),
            other => Err(unsupported("type", &other.into())),
        }
    }

    fn object(
        &mut self,
        schema: &'a Map<String, Value>,
        depth: usize,
    ) -> Result<Value, Unsupported> {
        only(schema, &["type", "properties", "required", "additionalProperties"])?;
        let required: Vec<_> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().collect();
        let mut object = Map::new();
        for (name, property) in
            schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            if depth < LARGE_DEPTH || required.iter().any(|required| *required == name) {
                object.insert(name.clone(), self.value(property, depth + 1)?);
            }
        }
        let any = schema.get("additionalProperties").unwrap_or(&Value::Bool(true));
        for name in required.into_iter().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                object.insert(name.to_owned(), self.value(any, depth + 1)?);
            }
        }
        Ok(object.into())
    }

    fn array(
        &mut self,
        schema: &'a Map<String, Value>,
        depth: usize,
    ) -> Result<Value, Unsupported> {
        only(schema, &["type", "items", "minItems", "maxItems", "uniqueItems"])?;
        let least = count(schema, "minItems")?.unwrap_or(0);
        let most = count(schema, "maxItems")?.unwrap_or(usize::MAX);
        let wanted = if depth < LARGE_DEPTH { least.max(1).min(most) } else { least };
        if least > most || (wanted > 1 && schema.get("uniqueItems") == Some(&true.into())) {
            return Err(Unsupported::Nothing("array"));
        }
        let items = schema.get("items").unwrap_or(&Value::Bool(true));
        (0..wanted).map(|_| self.value(items, depth + 1)).collect()
    }
}

/// A keyword that counts.
fn count(schema: &Map<String, Value>, keyword: &'static str) -> Result<Option<usize>, Unsupported> {
    let Some(value) = schema.get(keyword) else { return Ok(None) };
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    count.map(Some).ok_or_else(|| unsupported(keyword, value))
}

/// Refuses a keyword that is none of these and says something about instances.
fn only(schema: &Map<String, Value>, known: &[&str]) -> Result<(), Unsupported> {
    let unknown =
        |name: &&String| !known.contains(&name.as_str()) && !ANNOTATIONS.contains(&name.as_str());
    schema.keys().find(unknown).map_or(Ok(()), |name| Err(Unsupported::Keyword(name.clone())))
}

fn unsupported(keyword: &'static str, value: &Value) -> Unsupported {
    Unsupported::Value { keyword, value: value.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instance_fits_its_schema() {
        for (schema, fits) in [
            (json!({}), json!("Wärme")),
            (json!({ "type": "string", "maxLength": 3 }), json!("Wär")),
            (json!({ "type": "string", "minLength": 8, "maxLength": 8 }), json!("WärmeWär")),
            (json!({ "type": "string", "format": "date" }), json!("2026-01-31")),
            (json!({ "type": "integer", "minimum": 7, "multipleOf": 5 }), json!(10)),
            (json!({ "type": "integer", "exclusiveMaximum": -3 }), json!(-4)),
            (json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }), json!(0.5)),
            (json!({ "type": ["null", "boolean"] }), json!(true)),
            (json!({ "enum": ["a", "b"], "type": "string" }), json!("a")),
            (json!({ "const": null }), json!(null)),
            (
                json!({ "type": "array", "items": { "type": "null" }, "minItems": 2 }),
                json!([null, null]),
            ),
            (
                json!({ "anyOf": [{ "type": "string", "pattern": "a" }, { "type": "null" }] }),
                json!(null),
            ),
            (
                json!({
                    "type": "object", "title": "T", "additionalProperties": false, "required": ["a"],
                    "properties": { "a": { "$ref": "#/$defs/n", "description": "n" }, "b": { "type": "boolean" } },
                    "$defs": { "n": { "type": "number" } },
                }),
                json!({ "a": 0.0, "b": true }),
            ),
        ] {
            assert_eq!(instance(&schema), Ok(fits), "{schema}");
        }
    }

    #[test]
    fn schema_that_refers_to_itself_has_a_small_instance() {
        let node = json!({
            "type": "object", "required": ["left", "right"],
            "properties": {
                "left": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] },
                "right": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] },
            },
        });
        let text = instance(&node).expect("an instance").to_string();
        assert!(text.len() < 1000, "{text}");
    }

    #[test]
    fn schema_of_which_no_instance_can_be_made_is_refused() {
        let endless =
            json!({ "type": "object", "required": ["a"], "properties": { "a": { "$ref": "#" } } });
        for (schema, error) in [
            (
                json!({ "type": "string", "pattern": "a+" }),
                "the keyword `pattern` is not supported by the mock",
            ),
            (json!({ "type": "any" }), "`type`: `\"any\"` is not supported by the mock"),
            (
                json!({ "$ref": "other.json" }),
                "`$ref`: `\"other.json\"` is not supported by the mock",
            ),
            (
                json!({ "type": "integer", "minimum": 2, "maximum": 1 }),
                "no number that fits can be made",
            ),
            (
                json!({ "type": "array", "minItems": 20_000 }),
                "its instances are nested deeper than",
            ),
            (endless, "its instances are nested deeper than"),
            (json!(false), "`schema`: `false` is not supported by the mock"),
        ] {
            let found = instance(&schema).expect_err("refused").to_string();
            assert!(found.starts_with(error), "{found}");
        }
    }
}
