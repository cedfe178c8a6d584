//! Reports of upstreams on the tokens that they used, in the forms that servers have for them.

use serde::{Deserialize, Deserializer, de};

use super::Usage;

/// Largest number that is taken over: what is more is no number of tokens.
const MOST: u64 = 1 << 48;

/// Tokens as far as they were reported.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Report {
    prompt: Option<u64>,
    cached: Option<u64>,
    completion: Option<u64>,
}

/// An object with numbers of tokens. OpenAI's chat says `prompt_tokens` and `completion_tokens`, its
/// Responses and Anthropic's Messages `input_tokens` and `output_tokens`; servers of embeddings and
/// rankings often `total_tokens` alone.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Count,
    #[serde(alias = "output_tokens")]
    completion_tokens: Count,
    total_tokens: Count,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<Details>,
    /// `DeepSeek`'s.
    prompt_cache_hit_tokens: Count,
    /// Anthropic's: tokens of the prompt that are not in `input_tokens`.
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
}

/// A number of tokens, in whatever form of a number; `None` if it is none.
#[derive(Clone, Copy, Default)]
struct Count(Option<u64>);

impl Report {
    /// Adds what was reported later in the same answer: numbers so far, not numbers since.
    pub(crate) fn update(&mut self, later: Self) {
        let Self { prompt, cached, completion } = later;
        self.prompt = prompt.or(self.prompt);
        self.cached = cached.or(self.cached);
        self.completion = completion.or(self.completion);
    }

    /// Tokens of the answer, if they were reported.
    pub(super) fn completion(&self) -> Option<u64> {
        self.completion
    }

    /// The tokens, of which those of the prompt are estimated if they were not reported.
    pub(crate) fn with_prompt(self, estimate: u64) -> Usage {
        Usage {
            prompt_tokens: self.prompt.unwrap_or(estimate),
            cached_prompt_tokens: self.cached.unwrap_or_default(),
            completion_tokens: self.completion.unwrap_or_default(),
            is_estimated: self.prompt.is_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Report {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(deserializer).map(Self::from)
    }
}

impl From<Object> for Report {
    fn from(object: Object) -> Self {
        let total = object.total_tokens.0;
        let completion = object.completion_tokens.0;
        let of_cache = [object.cache_read_input_tokens, object.cache_creation_input_tokens];
        let besides: u64 = of_cache.iter().filter_map(|count| count.0).sum();
        let prompt = object.prompt_tokens.0.map(|prompt| prompt + besides);
        let details = object.prompt_tokens_details.and_then(|details| details.cached_tokens.0);
        Self {
            prompt: prompt.or_else(|| total?.checked_sub(completion.unwrap_or_default())),
            cached: details
                .or(object.prompt_cache_hit_tokens.0)
                .or(object.cache_read_input_tokens.0),
            // Embeddings have none.
            completion: completion.or(total.or(prompt).map(|_| 0)),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNumber)
    }
}

struct AnyNumber;

impl<'de> de::Visitor<'de> for AnyNumber {
    type Value = Count;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Count, E> {
        Ok(Count(Some(number.min(MOST))))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(number).ok().map(|number| number.min(MOST))))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Count, E> {
        // A cast saturates.
        Ok(Count((number >= 0.0).then(|| (number as u64).min(MOST))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Count, E> {
        Ok(Count(text.parse().ok().map(|number: u64| number.min(MOST))))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
        while list.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(text: &str) -> [u64; 3] {
        let report: Report = serde_json::from_str(text).expect("an object");
        let usage = report.with_prompt(1000);
        [usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens]
    }

    #[test]
    fn usage_has_many_forms() {
        for (text, expected) in [
            (r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#, [3, 0, 4]),
            (r#"{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}"#, [3, 2, 0]),
            (r#"{"prompt_tokens":3,"prompt_tokens_details":null}"#, [3, 0, 0]),
            (r#"{"total_tokens":56}"#, [56, 0, 0]),
            (r#"{"prompt_tokens":null,"completion_tokens":10}"#, [1000, 0, 10]),
            (r#"{"prompt_tokens":null,"completion_tokens":10,"total_tokens":12}"#, [2, 0, 10]),
            (r#"{"prompt_tokens":10.0,"completion_tokens":1e1}"#, [10, 0, 10]),
            (r#"{"prompt_tokens":"10","completion_tokens":[1]}"#, [10, 0, 0]),
            (r#"{"prompt_tokens":-1,"completion_tokens":{"a":1}}"#, [1000, 0, 0]),
            (r#"{"prompt_tokens":true,"completion_tokens":1e300}"#, [1000, 0, MOST]),
            (r#"{"prompt_tokens":99999999999999999999999}"#, [MOST, 0, 0]),
            (
                r#"{"input_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens":4}"#,
                [3, 1, 4],
            ),
            (
                r#"{"input_tokens":3,"cache_read_input_tokens":20,"cache_creation_input_tokens":5}"#,
                [28, 20, 0],
            ),
            (r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":8,"completion_tokens":1}"#, [9, 8, 1]),
            ("{}", [1000, 0, 0]),
        ] {
            assert_eq!(usage(text), expected, "{text}");
        }
    }

    #[test]
    fn later_numbers_replace_those_before() {
        let read = |text| serde_json::from_str::<Report>(text).expect("an object");
        let mut report = read(r#"{"input_tokens":5,"output_tokens":1}"#);
        report.update(read(r#"{"output_tokens":9}"#));
        let usage = report.with_prompt(0);
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (5, 9));
        assert!(!usage.is_estimated);
    }
}
