//! `POST /v1/moderations`: nothing is flagged, with scores that depend on the input.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    content::{Content, id},
    hash::Hash,
    manner::Manner,
    object::read,
    refusal::Refusal,
};

/// Most inputs of one request.
const MAX_INPUTS: usize = 2048;

const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// Fields of the request that are read; all others are ignored.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Inputs<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "input: a text, or a list of texts or of parts, is wanted")]
enum Inputs<'a> {
    #[serde(borrow)]
    One(Cow<'a, str>),
    #[serde(borrow)]
    Many(Vec<Cow<'a, str>>),
    /// Texts and images, which are judged together.
    Parts(Vec<Map<String, Value>>),
}

/// A result for each input.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let asked: Asked<'_> = read(body)?;
    // `OpenAI` has a model by default, too.
    let first = manner.behaviour.models.iter().next().unwrap_or_default();
    let model = asked.model.as_deref().unwrap_or(first);
    manner.check_model(model)?;
    let inputs = match asked.input {
        Inputs::One(text) => vec![text],
        Inputs::Many(texts) => texts,
        Inputs::Parts(parts) => vec![Value::from_iter(parts).to_string().into()],
    };
    let count = inputs.len();
    if !(1..=MAX_INPUTS).contains(&count) {
        let allowed = format!("1 to {MAX_INPUTS} inputs");
        return Err(Refusal::not_allowed("input", format!("a list of {count}"), &allowed));
    }
    let results: Vec<_> = inputs.iter().map(|input| result(input)).collect();
    Content::json(&json!({ "id": format!("modr-{}", id()), "model": model, "results": results }))
}

fn result(input: &str) -> Value {
    let mut hash = Hash::of(input.bytes());
    json!({
        "flagged": false,
        "categories": of_each(|| false.into()),
        "category_applied_input_types": of_each(|| json!(["text"])),
        // Far below what is flagged.
        "category_scores": of_each(|| (hash.next_share() / 100.0).into()),
    })
}

fn of_each(mut value: impl FnMut() -> Value) -> Value {
    CATEGORIES.iter().map(|name| (*name, value())).collect()
}
