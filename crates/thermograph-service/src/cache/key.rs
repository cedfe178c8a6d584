//! What a question is called: a hash of everything that its answer depends on.

use std::{fmt, io::Write as _};

use blake3::Hasher;
use serde_json::Value;

/// A hash that nobody can make collide, so that nobody is given another's answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key([u8; 32]);

/// Hashes parts, each with its length, so that no two rows of parts are the same bytes.
///
/// Not moved from part to part: it is 2 KB.
#[derive(Clone)]
pub(crate) struct KeyBuilder(Hasher);

impl KeyBuilder {
    /// Of this kind, which is part of the key: what is kept of one form is not read in another.
    pub(crate) fn new(kind: &str) -> Self {
        let mut builder = Self(Hasher::new());
        builder.part(kind.as_bytes());
        builder
    }

    pub(crate) fn part(&mut self, part: &[u8]) -> &mut Self {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// A value as it is the same however it was written: keys in order, no spaces, 1.0 as 1.
    pub(crate) fn value(&mut self, value: &Value) -> &mut Self {
        add(&mut self.0, value);
        self
    }

    pub(crate) fn finish(&self) -> Key {
        Key(*self.0.finalize().as_bytes())
    }
}

impl Key {
    /// One key for all of these.
    pub(crate) fn of_all(keys: &[Self]) -> Self {
        let mut builder = KeyBuilder::new("keys");
        for key in keys {
            builder.part(&key.0);
        }
        builder.finish()
    }

    /// A number that is as good as by chance.
    pub(crate) fn shard(&self) -> usize {
        usize::from(self.0[0])
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).to_hex().fmt(f)
    }
}

/// Each value begins with its kind, and what has a length with that.
fn add(hasher: &mut Hasher, value: &Value) {
    let length = |hasher: &mut Hasher, kind: u8, length: usize| {
        hasher.update(&[kind]);
        hasher.update(&(length as u64).to_le_bytes());
    };
    match value {
        Value::Null => drop(hasher.update(b"0")),
        Value::Bool(value) => drop(hasher.update(if *value { b"t" } else { b"f" })),
        Value::Number(number) => {
            hasher.update(b"n");
            // Writing to a hash cannot fail.
            let _ = match number.as_f64() {
                // Whole ones have one name, as far as they are exact.
                Some(whole) if whole.fract() == 0.0 && whole.abs() < EXACT => {
                    // 0 has no sign.
                    write!(hasher, "{};", whole + 0.0)
                }
                _ => write!(hasher, "{number};"),
            };
        }
        Value::String(text) => {
            length(hasher, b's', text.len());
            hasher.update(text.as_bytes());
        }
        Value::Array(values) => {
            length(hasher, b'[', values.len());
            for value in values {
                add(hasher, value);
            }
        }
        // A map of ours is in order.
        Value::Object(map) => {
            length(hasher, b'{', map.len());
            for (key, value) in map {
                length(hasher, b'k', key.len());
                hasher.update(key.as_bytes());
                add(hasher, value);
            }
        }
    }
}

/// Up to here every whole number is a `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(json: &str) -> String {
        let value = serde_json::from_str(json).expect("JSON");
        KeyBuilder::new("test").value(&value).finish().to_string()
    }

    #[test]
    fn what_is_the_same_has_the_same_key() {
        assert_eq!(key(r#"{"a":1,"b":[1.0,"x"]}"#), key(r#"{ "b" : [1, "\u0078"], "a": 1e0 }"#));
        assert_eq!(key("-0.0"), key("0"));
    }

    #[test]
    fn what_differs_has_another() {
        let all = [
            "null",
            "true",
            "false",
            "0",
            "1",
            "1.5",
            "\"\"",
            "\"1\"",
            "[]",
            "{}",
            "[[]]",
            "[1,2]",
            "[2,1]",
            "[12]",
            "[\"a\",\"b\"]",
            "[\"ab\"]",
            "[\"a\",[\"b\"]]",
            r#"{"a":"b"}"#,
            r#"{"a":"b","c":null}"#,
            "9007199254740993",
            "9007199254740992",
        ];
        let keys: std::collections::HashSet<_> = all.iter().map(|json| key(json)).collect();
        assert_eq!(keys.len(), all.len());
        let part = |parts: &[&str]| {
            let mut all = KeyBuilder::new("x");
            for part in parts {
                all.part(part.as_bytes());
            }
            all.finish().to_string()
        };
        assert_ne!(part(&["ab", "c"]), part(&["a", "bc"]));
        assert_ne!(part(&["a"]), KeyBuilder::new("y").part(b"a").finish().to_string());
    }
}
