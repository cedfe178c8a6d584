//! How many tokens a text of any form is: plausible, cheap, always the same.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Tokens of a JSON value: of a text one for each four bytes, of a token id one, of a list or an
/// object those in it. Nothing of the value is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tokens(pub(super) usize);

/// `OpenAI`'s usage of an answer that has no tokens of its own.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl Usage {
    pub(super) fn of(tokens: usize) -> Self {
        Self { prompt_tokens: tokens, total_tokens: tokens }
    }
}

impl Tokens {
    /// Bytes of text for each token.
    pub(super) const BYTES: usize = 4;

    pub(super) fn of(text: &str) -> usize {
        text.len().div_ceil(Self::BYTES)
    }
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Count)
    }
}

struct Count;

impl<'de> Visitor<'de> for Count {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_unit<E>(self) -> Result<Tokens, E> {
        Ok(Tokens(0))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tokens, E> {
        Ok(Tokens(1))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tokens, E> {
        Ok(Tokens(1))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tokens, E> {
        Ok(Tokens(1))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tokens, E> {
        Ok(Tokens(1))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tokens, E> {
        Ok(Tokens(Tokens::of(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tokens, A::Error> {
        let mut all = 0;
        while let Some(Tokens(of_one)) = list.next_element()? {
            all += of_one;
        }
        Ok(Tokens(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Tokens, A::Error> {
        let mut all = 0;
        while let Some((IgnoredAny, Tokens(of_one))) = object.next_entry()? {
            all += of_one;
        }
        Ok(Tokens(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_wherever_they_stand() {
        for (json, tokens) in [
            ("\"\"", 0),
            ("\"four\"", 1),
            ("\"fives\"", 2),
            ("[1, 2, 3]", 3),
            ("[[1, 2], [3]]", 3),
            (r#"[{"role": "user", "content": "says what it is"}]"#, 5),
            (r#"[{"role": "user", "content": [{"type": "text", "text": "a\nb"}], "n": null}]"#, 3),
        ] {
            assert_eq!(serde_json::from_str::<Tokens>(json).expect(json), Tokens(tokens), "{json}");
        }
    }
}
