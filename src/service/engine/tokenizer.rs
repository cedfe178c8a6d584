//! Text to token ids.

use std::path::Path;

use tokenizers::{Encoding, Token, TruncationParams};

use super::{EmbedError, Input, LoadError};

/// A model's tokenizer.
#[derive(Debug)]
pub(super) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary: usize,
    max_tokens: usize,
}

/// An input as the model reads it.
#[derive(Debug)]
pub(super) struct Tokens {
    /// Token ids, special ones included.
    pub(super) ids: Vec<u32>,
    /// Whether the input was longer than the model reads.
    pub(super) cut: bool,
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
        let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
        inner.with_padding(None).with_truncation(Some(truncation)).map_err(refused)?;
        let vocabulary = inner.get_vocab_size(true);
        Ok(Self { inner, vocabulary, max_tokens })
    }

    /// Turns the input at place `index` of a request into what the model reads.
    #[inline(never)]
    pub(super) fn tokenize(&self, index: usize, input: &Input) -> Result<Tokens, EmbedError> {
        let (encoding, cut) = match input {
            Input::Text(text) => {
                let looked_at = self.looked_at(text);
                (self.inner.encode_fast(looked_at, true), looked_at.len() < text.len())
            }
            Input::Tokens(ids) => (self.wrap(index, ids)?, false),
        };
        let encoding = encoding.map_err(|error| {
            tracing::error!(%error, "the tokenizer failed");
            EmbedError::Failed("the tokenizer failed")
        })?;
        let cut = cut || !encoding.get_overflowing().is_empty();
        Ok(Tokens { ids: encoding.get_ids().to_vec(), cut })
    }

    /// Cuts given ids to length, and puts the special ones around them.
    fn wrap(&self, index: usize, ids: &[u32]) -> Result<tokenizers::Result<Encoding>, EmbedError> {
        let vocabulary = self.vocabulary;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(EmbedError::UnknownToken { index, id: *id, vocabulary });
        }
        let token = |id: &u32| Token::new(*id, String::new(), (0, 0));
        let encoding = Encoding::from_tokens(ids.iter().map(token).collect(), 0);
        Ok(self.inner.post_process(encoding, None, true))
    }

    fn looked_at<'a>(&self, text: &'a str) -> &'a str {
        let most = self.max_tokens * Self::BYTES_PER_TOKEN;
        &text[..text.floor_char_boundary(most)]
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }
}
