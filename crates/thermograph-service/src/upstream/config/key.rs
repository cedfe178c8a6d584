//! A secret that an upstream wants, never shown.

use std::fmt;

use http::HeaderValue;
use serde::{Deserialize, Serialize, Serializer};

/// Key of an upstream. Neither `Debug` nor `Serialize` shows it.
#[derive(Clone, Deserialize, Eq, PartialEq)]
#[serde(from = "String")]
pub struct Key(String);

impl Key {
    /// Stands for a key that is not shown.
    const SHOWN: &str = "(set)";
    /// Texts that are keys.
    pub(crate) const ALLOWED: &str =
        "the key itself, of visible ASCII characters; `(set)` stands for a key that is not shown";

    /// Returns whether it is a key that a header can hold.
    pub fn can_be_sent(&self) -> bool {
        self.0 != Self::SHOWN && self.header().is_some()
    }

    /// Returns whether it is ASCII, as keys are; values of other headers may have other characters.
    pub(super) fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }

    /// `authorization` with this key, marked as secret; none where it cannot be sent.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        self.in_header("Bearer ")
    }

    /// The value of a header that holds it alone, marked as secret; none where it cannot be sent.
    pub(crate) fn plain(&self) -> Option<HeaderValue> {
        self.in_header("").filter(|_| self.can_be_sent())
    }

    fn in_header(&self, scheme: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{scheme}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value).filter(|_| !self.0.trim().is_empty())
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::SHOWN)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::SHOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown() {
        let key = Key::from("hunter2".to_owned());
        let header = key.header().expect("it can be sent");
        assert_eq!(header, "Bearer hunter2");
        let shown = format!("{key:?} {header:?} {}", serde_json::to_string(&key).expect("JSON"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(Key::from("a\nb".to_owned()).header(), None);
        for blank in ["", " ", "\t "] {
            assert_eq!(Key::from(blank.to_owned()).header(), None);
        }
        assert!(key.can_be_sent());
        // The text that stands for a key is none.
        assert!(!Key::from(format!("{key:?}")).can_be_sent());
    }
}
