//! Text to token ids.

use std::path::Path;

use tokenizers::{Encoding, Token};

use super::{EmbedError, Input, LoadError, encoder::Probes};

/// A model's tokenizer.
#[derive(Debug)]
pub(super) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary: usize,
    max_tokens: usize,
    /// Special ids before an input, such as `[CLS]`, and after it, such as `[SEP]`.
    special: [Vec<u32>; 2],
}

/// An input as the model reads it.
#[derive(Debug)]
pub(super) struct Tokens {
    /// Token ids, special ones included.
    pub(super) ids: Vec<u32>,
    /// True if the input was longer than the model reads.
    pub(super) truncated: bool,
}

/// Treatment of an input that is longer than the model reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TooLong {
    /// Read its beginning only.
    Truncate,
    /// Refuse it.
    Reject,
}

/// Tokens of an input.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TokenCount {
    /// Tokens that the model read, special ones included.
    pub read: usize,
    /// True if there were more, which it did not read.
    pub truncated: bool,
}

impl Tokenizer {
    /// A token is rarely longer than this many bytes; text past `max_tokens` times it is not
    /// looked at, so that the time for one input has a bound.
    const BYTES_PER_TOKEN: usize = 128;

    pub(super) fn load(file: &Path, max_tokens: usize) -> Result<Self, LoadError> {
        if !file.is_file() {
            return Err(LoadError::Missing(file.to_owned()));
        }
        let refused = |reason: tokenizers::Error| LoadError::Tokenizer {
            file: file.to_owned(),
            reason: reason.to_string(),
        };
        let mut inner = tokenizers::Tokenizer::from_file(file).map_err(refused)?;
        // The file's own settings pad to, and cut at, the length that the model was trained with.
        inner.with_padding(None).with_truncation(None).map_err(refused)?;
        let special = special_ids(&inner).map_err(refused)?;
        let vocabulary = inner.get_vocab_size(true);
        Ok(Self { inner, vocabulary, max_tokens, special })
    }

    /// Turns the input at place `index` of a request into what the model reads.
    #[inline(never)]
    pub(super) fn tokenize(
        &self,
        index: usize,
        input: &Input,
        too_long: TooLong,
    ) -> Result<Tokens, EmbedError> {
        let (mut ids, is_whole) = match input {
            Input::Text(text) => {
                let looked_at = self.looked_at(text);
                (self.encode(looked_at)?, looked_at.len() == text.len())
            }
            Input::Tokens(ids) => {
                self.check(index, ids)?;
                (self.without_special(ids).to_vec(), true)
            }
        };
        let [before, after] = &self.special;
        let special = before.len() + after.len();
        let tokens = ids.len() + special;
        let truncated = !is_whole || tokens > self.max_tokens;
        if truncated && too_long == TooLong::Reject {
            return Err(EmbedError::TooLong { index, tokens, is_whole, allowed: self.max_tokens });
        }
        ids.truncate(self.max_tokens.saturating_sub(special));
        Ok(Tokens { ids: [before, &*ids, after].concat(), truncated })
    }

    /// Inputs that show how a graph behaves.
    pub(super) fn probes(&self) -> Result<Probes, EmbedError> {
        const TEXTS: [&str; 4] = [
            "a",
            "Which handler is hot?",
            "It rained for 40 days, and 2,000 wooden boxes were carried across the river.",
            "#!/bin/sh -> {\"x\": [0.5, null]} \u{263a}",
        ];
        let varied = TEXTS.map(|text| Ok(self.tokenize(0, &text.into(), TooLong::Truncate)?.ids));
        let varied = varied.into_iter().collect::<Result<_, _>>()?;
        Ok(Probes { longest: vec![0; self.max_tokens], varied })
    }

    /// Token ids of a text, without special ones around them.
    fn encode(&self, text: &str) -> Result<Vec<u32>, EmbedError> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| {
            tracing::error!(%error, "the tokenizer failed");
            EmbedError::Failed("the tokenizer failed")
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    fn check(&self, index: usize, ids: &[u32]) -> Result<(), EmbedError> {
        let vocabulary = self.vocabulary;
        match ids.iter().position(|id| *id as usize >= vocabulary) {
            None => Ok(()),
            Some(position) => {
                Err(EmbedError::UnknownToken { index, position, id: ids[position], vocabulary })
            }
        }
    }

    /// Given ids without the special ones that the model has around them.
    fn without_special<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        let [before, after] = &self.special;
        let inner = ids.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**after));
        inner.unwrap_or(ids)
    }

    fn looked_at<'a>(&self, text: &'a str) -> &'a str {
        let most = self.max_tokens * Self::BYTES_PER_TOKEN;
        &text[..text.floor_char_boundary(most)]
    }
}

/// Special ids that a tokenizer puts before and after a text.
fn special_ids(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<[Vec<u32>; 2]> {
    let text = Encoding::from_tokens(vec![Token::new(0, String::new(), (0, 0))], 0);
    let wrapped = tokenizer.post_process(text, None, true)?;
    let place = wrapped.get_special_tokens_mask().iter().position(|special| *special == 0);
    let place = place.ok_or("its post-processor leaves nothing of a text")?;
    let (before, rest) = wrapped.get_ids().split_at(place);
    Ok([before.to_vec(), rest[1..].to_vec()])
}
