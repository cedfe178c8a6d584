//! `POST /v1/embeddings`: vectors that depend on the text and nothing else.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    content::Content,
    hash::Hash,
    manner::Manner,
    object::read,
    refusal::Refusal,
    size::{Tokens, Usage},
};

/// Numbers of a vector.
const DIMENSIONS: usize = 8;
/// Most inputs of one request, as `OpenAI` has it.
const MAX_INPUTS: usize = 2048;

/// Fields of the request that are read; all others are ignored.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    input: Inputs<'a>,
    #[serde(default)]
    encoding_format: Option<Format>,
    #[serde(default)]
    dimensions: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Float,
    Base64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "input: a string, token ids, or a list of either is wanted")]
enum Inputs<'a> {
    #[serde(borrow)]
    One(Cow<'a, str>),
    Ids(Vec<u32>),
    #[serde(borrow)]
    Many(Vec<Input<'a>>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Ids(Vec<u32>),
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    Float(Vec<f32>),
    Base64(String),
}

/// A vector for each input.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let asked: Asked<'_> = read(body)?;
    manner.check_model(&asked.model)?;
    let inputs = match asked.input {
        Inputs::One(text) => vec![Input::Text(text)],
        Inputs::Ids(ids) if !ids.is_empty() => vec![Input::Ids(ids)],
        Inputs::Ids(_) => Vec::new(),
        Inputs::Many(many) => many,
    };
    let count = inputs.len();
    if !(1..=MAX_INPUTS).contains(&count) || inputs.iter().any(Input::is_empty) {
        let message = format!("input: 1 to {MAX_INPUTS} entries, none empty; found {count}");
        return Err(Refusal::bad_request(Some("input"), message));
    }
    let dimensions = asked.dimensions.unwrap_or(DIMENSIONS);
    if !(1..=DIMENSIONS).contains(&dimensions) {
        let message = format!("dimensions: {dimensions} is not allowed: 1 to {DIMENSIONS}");
        return Err(Refusal::bad_request(Some("dimensions"), message));
    }
    let format = asked.encoding_format.unwrap_or_default();
    let entry = |(index, input): (usize, &Input<'_>)| {
        let embedding = Numbers::new(input.vector(dimensions), format);
        Entry { object: "embedding", index, embedding }
    };
    let data = inputs.iter().enumerate().map(entry).collect();
    let tokens = inputs.iter().map(Input::tokens).sum();
    Content::json(&List { object: "list", data, model: &asked.model, usage: Usage::of(tokens) })
}

impl Input<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Ids(ids) => ids.is_empty(),
        }
    }

    fn tokens(&self) -> usize {
        match self {
            Self::Text(text) => Tokens::of(text),
            Self::Ids(ids) => ids.len(),
        }
    }

    /// So many numbers, of length 1 together.
    fn vector(&self, dimensions: usize) -> Vec<f32> {
        let mut hash = match self {
            Self::Text(text) => Hash::of(text.bytes()),
            Self::Ids(ids) => Hash::of(ids.iter().flat_map(|id| id.to_le_bytes())),
        };
        let numbers: Vec<_> = (0..dimensions).map(|_| hash.next_share() * 2.0 - 1.0).collect();
        let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt();
        numbers.iter().map(|number| (number / length) as f32).collect()
    }
}

impl Numbers {
    fn new(vector: Vec<f32>, format: Format) -> Self {
        match format {
            Format::Float => Self::Float(vector),
            Format::Base64 => {
                let bytes: Vec<_> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                Self::Base64(STANDARD.encode(bytes))
            }
        }
    }
}
