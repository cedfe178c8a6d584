//! `POST /v1/rerank`, `/v2/rerank`, `/rerank`: documents by a score that depends on query and document and nothing else.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    content::{Content, id},
    hash::Hash,
    manner::Manner,
    object::{Object, read},
    refusal::Refusal,
    size::{Tokens, Usage},
};

/// Largest `top_n`: the largest number of 64 bits with a sign.
const MAX_TOP_N: usize = i64::MAX as usize;

/// Fields of the request that are read; all others are ignored.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    query: Cow<'a, str>,
    #[serde(borrow)]
    documents: Vec<Document<'a>>,
    #[serde(default)]
    top_n: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "documents: texts, or objects with a `text`, are wanted")]
enum Document<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    #[serde(borrow)]
    Object(Object<TextDocument<'a>>),
}

#[derive(Debug, Deserialize)]
struct TextDocument<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Serialize)]
struct Ranking<'a> {
    id: String,
    model: &'a str,
    results: Vec<Ranked<'a>>,
    usage: Usage,
    meta: Meta,
}

/// `Cohere`'s usage.
#[derive(Serialize)]
struct Meta {
    billed_units: Billed,
}

#[derive(Serialize)]
struct Billed {
    search_units: usize,
}

#[derive(Serialize)]
struct Ranked<'a> {
    index: usize,
    relevance_score: f64,
    document: Shown<'a>,
}

#[derive(Serialize)]
struct Shown<'a> {
    text: &'a str,
}

/// The best documents first.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let asked: Asked<'_> = read(body)?;
    manner.check_model(&asked.model)?;
    if asked.documents.is_empty() {
        return Err(Refusal::bad_request(Some("documents"), "documents: at least one is wanted"));
    }
    if let Some(top_n) = asked.top_n.filter(|top_n| !(1..=MAX_TOP_N).contains(top_n)) {
        return Err(Refusal::not_allowed("top_n", top_n, &format!("1 to {MAX_TOP_N}")));
    }
    let texts: Vec<_> = asked.documents.iter().map(Document::text).collect();
    let mut results: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| Ranked {
            index,
            relevance_score: score(&asked.query, text),
            document: Shown { text },
        })
        .collect();
    results.sort_by(|a, b| b.relevance_score.total_cmp(&a.relevance_score));
    results.truncate(asked.top_n.unwrap_or(usize::MAX));
    let tokens =
        Tokens::of(&asked.query) + texts.iter().map(|text| Tokens::of(text)).sum::<usize>();
    let (id, usage) = (format!("rerank-{}", id()), Usage::of(tokens));
    let meta = Meta { billed_units: Billed { search_units: 1 } };
    Content::json(&Ranking { id, model: &asked.model, results, usage, meta })
}

fn score(query: &str, document: &str) -> f64 {
    Hash::of(query.bytes().chain([0]).chain(document.bytes())).next_share()
}

impl Document<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object(Object(TextDocument { text })) => text,
        }
    }
}
