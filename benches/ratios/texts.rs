//! Texts to embed, and requests that ask for it.

use bytes::Bytes;
use serde_json::json;

use crate::client::{self, Requests};

/// The name of the model.
pub(crate) const MODEL: &str = "all-MiniLM-L6-v2";

/// Different texts; a multiple of every size of a batch.
const TEXTS: usize = 1024;

const WHO: [&str; 8] = [
    "The old captain",
    "A young teacher",
    "The city council",
    "Our next neighbour",
    "The night train",
    "A small company",
    "My youngest sister",
    "The village doctor",
];
const DID: [&str; 8] =
    ["carried", "counted", "measured", "sold", "painted", "repaired", "found", "moved"];
const WHERE: [&str; 8] = [
    "across the river",
    "behind the station",
    "in the harbour",
    "on the market",
    "near the school",
    "under the bridge",
    "at the border",
    "before the court",
];

/// Short sentences, of about 15 tokens.
pub(crate) fn texts() -> Vec<String> {
    let text = |number: usize| {
        let (who, did, place) = (WHO[number % 8], DID[number / 8 % 8], WHERE[number / 64 % 8]);
        format!("{who} {did} {} wooden boxes {place} last winter.", number + 2)
    };
    (0..TEXTS).map(text).collect()
}

/// Requests with one text each.
pub(crate) fn singles() -> Requests {
    texts().into_iter().map(|text| request(&json!(text))).collect()
}

/// Requests with `size` texts each.
pub(crate) fn batches(size: usize) -> Requests {
    texts().chunks(size).map(|texts| request(&json!(texts))).collect()
}

fn request(input: &serde_json::Value) -> Bytes {
    client::post("/v1/embeddings", &json!({ "model": MODEL, "input": input }))
}
