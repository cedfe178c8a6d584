//! Log probabilities: they depend on the token and its place and nothing else.

use std::ops::Range;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{hash::Hash, output::Output, words};

/// Log probabilities of the tokens of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logprobs {
    /// Number of the likeliest tokens that are listed at each place.
    pub(super) top: usize,
}

#[derive(Serialize)]
struct Candidate<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
}

#[derive(Serialize)]
struct Chosen<'a> {
    #[serde(flatten)]
    candidate: Candidate<'a>,
    top_logprobs: Vec<Value>,
}

impl Logprobs {
    /// About how many bytes those of a token have.
    pub(super) fn size(self) -> usize {
        160 * (self.top + 1)
    }

    /// `logprobs` of a chat's choice, in JSON.
    pub(super) fn chat(self, output: &Output, tokens: Range<usize>) -> String {
        let content: Vec<_> = tokens
            .map(|index| {
                let token = output.token(index);
                let candidates = self.candidates(token, index);
                let top_logprobs =
                    candidates.iter().map(|(token, logprob)| json!(candidate(token, *logprob)));
                Chosen {
                    candidate: candidate(token, logprob(token, index)),
                    top_logprobs: top_logprobs.collect(),
                }
            })
            .collect();
        json!({ "content": content, "refusal": null }).to_string()
    }

    /// `logprobs` of a text completion's choice, which has words, in JSON.
    pub(super) fn text(self, output: &Output, tokens: Range<usize>) -> String {
        let texts: Vec<_> = tokens.clone().map(|index| output.token(index)).collect();
        let logprobs: Vec<_> =
            tokens.clone().map(|index| logprob(output.token(index), index)).collect();
        let top: Vec<Map<_, _>> = tokens
            .clone()
            .map(|index| {
                let candidates = self.candidates(output.token(index), index).into_iter();
                candidates.map(|(token, logprob)| (token, logprob.into())).collect()
            })
            .collect();
        let offsets: Vec<_> = tokens.map(words::letters_before).collect();
        let logprobs = json!({
            "tokens": texts, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": offsets,
        });
        logprobs.to_string()
    }

    /// The likeliest tokens at a place, the chosen one first.
    fn candidates(self, token: &str, index: usize) -> Vec<(String, f64)> {
        let likeliest = logprob(token, index);
        (0..self.top)
            .map(|rank| match rank {
                0 => (token.to_owned(), likeliest),
                rank => (format!(" other{rank}"), likeliest - rank as f64),
            })
            .collect()
    }
}

fn candidate(token: &str, logprob: f64) -> Candidate<'_> {
    Candidate { token, logprob, bytes: token.as_bytes() }
}

/// Below 0 and above -1.
fn logprob(token: &str, index: usize) -> f64 {
    -Hash::of(token.bytes().chain(index.to_le_bytes())).next_share()
}
