//! Tokens of a request and its answer: as the upstream reports them, or estimated.
//!
//! Everything that an upstream answers goes through one [`Tally`], whatever its endpoint, size and
//! form, and however it ends. The ledger, the budgets of keys and the metrics have their numbers from
//! there.

mod event;
mod failure;
mod inspect;
mod report;
mod tally;
mod text;

use serde::Serialize;

pub(crate) use self::{
    event::{Inspector, error_of_event},
    inspect::{Facts, inspect},
    report::Report,
    tally::{Form, Tally},
};

/// Tokens that were used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// Tokens of the request.
    pub(crate) prompt_tokens: u64,
    /// Tokens of the request that the upstream had in its cache.
    pub(crate) cached_prompt_tokens: u64,
    /// Tokens of the answer.
    pub(crate) completion_tokens: u64,
    /// True if the upstream has not reported all of it.
    #[serde(rename = "estimated")]
    pub(crate) is_estimated: bool,
}

impl Usage {
    /// Tokens of a request whose answer has none.
    pub(crate) fn of_prompt(prompt_tokens: u64) -> Self {
        Self { prompt_tokens, ..Self::default() }
    }

    /// Tokens of the request and of the answer.
    pub(crate) fn total(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// Tokens of a text of so many bytes: a quarter, as English has it with the tokenizers in use.
pub(crate) fn tokens_of(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}
