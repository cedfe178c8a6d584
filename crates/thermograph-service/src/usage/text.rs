//! Text that a model has made, in a value of JSON.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Bytes of text in a value.
pub(super) fn text_of(value: &RawValue) -> usize {
    let mut text = Text::default();
    // Raw values are JSON.
    let _ = (&mut text).deserialize(value);
    text.bytes
}

/// Text that a model has made, in a value: strings under names that are usual for that.
#[derive(Default)]
pub(super) struct Text<'de> {
    pub(super) bytes: usize,
    /// The string, if there is one only, and it has no escapes.
    pub(super) only: Only<'de>,
    /// True within values whose strings are something else.
    is_other: bool,
    /// True if the value is a list without elements.
    pub(super) is_empty_list: bool,
}

/// Strings of text in a value.
#[derive(Clone, Copy, Default)]
pub(super) enum Only<'de> {
    #[default]
    Missing,
    One(&'de str),
    /// Several, or one with escapes.
    Other,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    #[serde(
        alias = "content",
        alias = "arguments",
        alias = "reasoning",
        alias = "reasoning_content",
        alias = "refusal",
        alias = "partial_json",
        alias = "thinking"
    )]
    Text,
    /// Tokens that are in the text already.
    Logprobs,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for &mut Text<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Text<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        if !self.is_other {
            self.bytes += text.len();
            self.only = match self.only {
                Only::Missing => Only::One(text),
                Only::One(_) | Only::Other => Only::Other,
            };
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if !self.is_other {
            self.bytes += text.len();
            self.only = Only::Other;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut is_empty = true;
        while list.next_element_seed(&mut *self)?.is_some() {
            is_empty = false;
        }
        // The outermost list is the last to end.
        self.is_empty_list = is_empty;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let is_other = self.is_other;
        while let Some(name) = map.next_key()? {
            if let Name::Logprobs = name {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            self.is_other = !matches!(name, Name::Text);
            map.next_value_seed(&mut *self)?;
        }
        self.is_other = is_other;
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}
