//! Vectors that are kept, one for each text.

use std::sync::Arc;

use super::shelf::{Keep, now};
use crate::service::engine::TokenCount;

/// The vector of an input.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    made: u64,
    /// Tokens of the input that were read.
    pub(crate) tokens: u32,
    /// True if there were more of them.
    pub(crate) truncated: bool,
    pub(crate) numbers: Arc<[f32]>,
}

impl Vector {
    /// Bytes before the numbers, as it is written.
    const HEAD: usize = 8 + 4;
    /// Bit of the number of tokens that says whether there were more.
    const TRUNCATED: u32 = 1 << 31;

    pub(crate) fn new(numbers: Arc<[f32]>, tokens: TokenCount) -> Self {
        let TokenCount { read, truncated } = tokens;
        let tokens = u32::try_from(read).unwrap_or(u32::MAX) & !Self::TRUNCATED;
        Self { made: now(), tokens, truncated, numbers }
    }
}

impl Keep for Vector {
    const KIND: &'static str = "vector-1";

    fn size(&self) -> usize {
        size_of_val(&*self.numbers)
    }

    fn made(&self) -> u64 {
        self.made
    }

    /// Little-endian throughout: when it was made, tokens and whether there were more, numbers.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::HEAD + self.size());
        bytes.extend_from_slice(&self.made.to_le_bytes());
        let truncated = if self.truncated { Self::TRUNCATED } else { 0 };
        bytes.extend_from_slice(&(self.tokens | truncated).to_le_bytes());
        bytes.extend(self.numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (made, rest) = bytes.split_first_chunk()?;
        let (tokens, rest) = rest.split_first_chunk()?;
        let tokens = u32::from_le_bytes(*tokens);
        let (numbers, rest) = rest.as_chunks::<4>();
        let is_whole = rest.is_empty() && !numbers.is_empty();
        is_whole.then(|| Self {
            made: u64::from_le_bytes(*made),
            tokens: tokens & !Self::TRUNCATED,
            truncated: tokens & Self::TRUNCATED != 0,
            numbers: numbers.iter().map(|number| f32::from_le_bytes(*number)).collect(),
        })
    }
}
