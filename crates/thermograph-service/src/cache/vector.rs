//! Vectors that are kept, one for each text.

use std::sync::Arc;

use thermograph_engine::TokenCount;

use super::shelf::{Keep, now};

/// The vector of an input.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    made: u64,
    /// Tokens of the input that were read.
    pub(crate) tokens: u32,
    /// True if there were more of them.
    pub(crate) truncated: bool,
    /// The model as an upstream names it in its answer; empty if it does not, or the model is local.
    pub(crate) model: Arc<str>,
    pub(crate) numbers: Arc<[f32]>,
}

impl Vector {
    /// Bytes before the model's name, as it is written.
    const HEAD: usize = 8 + 4 + 1;
    /// Longest name of a model; longer ones are truncated.
    const NAME: usize = u8::MAX as usize;
    /// Bit of the number of tokens that says whether there were more.
    const TRUNCATED: u32 = 1 << 31;

    pub(crate) fn new(numbers: Arc<[f32]>, tokens: TokenCount, model: &Arc<str>) -> Self {
        let TokenCount { read, truncated } = tokens;
        let tokens = u32::try_from(read).unwrap_or(u32::MAX) & !Self::TRUNCATED;
        Self { made: now(), tokens, truncated, model: Arc::clone(model), numbers }
    }
}

impl Keep for Vector {
    const KIND: &'static str = "vector-2";

    fn size(&self) -> usize {
        size_of_val(&*self.numbers)
    }

    fn made(&self) -> u64 {
        self.made
    }

    /// Little-endian throughout: when it was made, tokens and whether there were more, the model's name
    /// after its length, numbers.
    fn encode(&self) -> Vec<u8> {
        let name = &self.model[..self.model.floor_char_boundary(Self::NAME)];
        let mut bytes = Vec::with_capacity(Self::HEAD + name.len() + self.size());
        bytes.extend_from_slice(&self.made.to_le_bytes());
        let truncated = if self.truncated { Self::TRUNCATED } else { 0 };
        bytes.extend_from_slice(&(self.tokens | truncated).to_le_bytes());
        // The boundary is at most `NAME`.
        bytes.push(u8::try_from(name.len()).unwrap_or_default());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend(self.numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (made, rest) = bytes.split_first_chunk()?;
        let (tokens, rest) = rest.split_first_chunk()?;
        let tokens = u32::from_le_bytes(*tokens);
        let (length, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (numbers, rest) = rest.as_chunks::<4>();
        let is_whole = rest.is_empty() && !numbers.is_empty();
        let vector = Self {
            made: u64::from_le_bytes(*made),
            tokens: tokens & !Self::TRUNCATED,
            truncated: tokens & Self::TRUNCATED != 0,
            model: str::from_utf8(name).ok()?.into(),
            numbers: numbers.iter().map(|number| f32::from_le_bytes(*number)).collect(),
        };
        is_whole.then_some(vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_read_as_they_were_written() {
        let tokens = TokenCount { read: 3, truncated: true };
        for name in ["", "m", &"é".repeat(200)] {
            let vector = Vector::new([1.0, -0.5].into(), tokens, &name.into());
            let read = Vector::decode(&vector.encode()).expect("whole");
            assert_eq!((read.tokens, read.truncated, read.made), (3, true, vector.made));
            assert_eq!(*read.numbers, [1.0, -0.5]);
            assert!(name.starts_with(&*read.model) && read.model.len() >= name.len().min(254));
        }
        let bytes = Vector::new([1.0].into(), tokens, &"m".into()).encode();
        for length in 0..bytes.len() {
            assert!(Vector::decode(&bytes[..length]).is_none(), "{length}");
        }
    }
}
