//! Fields that chat and text completions share: choices, and how a stream is wanted.

use serde::Deserialize;

use super::{bounds::Whole, logprobs::Logprobs, object::Object, output::Output, refusal::Refusal};

/// Most choices of one answer, as `OpenAI` has it.
const MAX_CHOICES: usize = 128;
/// Most tokens of all choices together, with the candidates that are listed for each.
const MAX_TOKENS: usize = 1_000_000;

/// A limit of tokens, which are 64 bits with a sign at most.
pub(super) type Limit = Whole<0, { i64::MAX as u64 }>;

/// Options of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl StreamOptions {
    pub(super) fn wants_usage(options: Option<&Object<Self>>) -> bool {
        options.is_some_and(|options| options.include_usage == Some(true))
    }
}

/// Number of choices, of which an answer may not have too many tokens together.
pub(super) fn count(
    n: Option<usize>,
    output: &Output,
    logprobs: Option<Logprobs>,
) -> Result<usize, Refusal> {
    let choices = n.unwrap_or(1);
    if !(1..=MAX_CHOICES).contains(&choices) {
        return Err(Refusal::not_allowed("n", choices, &format!("1 to {MAX_CHOICES}")));
    }
    let each = output.tokens() * (1 + logprobs.map_or(0, |logprobs| 1 + logprobs.top));
    if choices * each > MAX_TOKENS {
        let allowed = format!("{} choices of so many tokens", (MAX_TOKENS / each).max(1));
        let allowed = format!("at most {MAX_TOKENS} tokens with their candidates, {allowed}");
        return Err(Refusal::not_allowed("n", choices, &allowed));
    }
    Ok(choices)
}
