//! Names of models.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bounds::NotAllowed;

/// The models that the mock plays.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Value")]
pub struct Names(Vec<String>);

/// Most models.
const MOST: usize = 1000;
/// Longest name, in bytes.
const LONGEST: usize = 256;
const ALLOWED: &str = "1 to 1000 different names, each of 1 to 256 bytes";

impl Names {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }

    fn check(names: Vec<String>) -> Option<Self> {
        let mut sorted: Vec<_> = names.iter().collect();
        sorted.sort();
        let allowed = (1..=MOST).contains(&names.len())
            && names.iter().all(|name| (1..=LONGEST).contains(&name.len()))
            && sorted.windows(2).all(|two| two[0] != two[1]);
        allowed.then_some(Self(names))
    }
}

impl FromStr for Names {
    type Err = NotAllowed;

    /// Names with commas between them.
    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let names = text.split(',').map(|name| name.trim().to_owned()).collect();
        Self::check(names).ok_or_else(|| NotAllowed::new(text, ALLOWED))
    }
}

impl TryFrom<Value> for Names {
    type Error = NotAllowed;

    fn try_from(value: Value) -> Result<Self, NotAllowed> {
        let names = Vec::deserialize(&value).ok().and_then(Self::check);
        names.ok_or_else(|| NotAllowed::new(value, ALLOWED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_some_and_none_twice() {
        let names = "a, meta-llama/Llama-3".parse::<Names>().expect("names");
        assert_eq!(names.iter().collect::<Vec<_>>(), ["a", "meta-llama/Llama-3"]);
        assert!(names.contains("a") && !names.contains("b"));
        assert_eq!(
            serde_json::from_str::<Names>(r#"["a", "meta-llama/Llama-3"]"#).ok(),
            Some(names)
        );
        for bad in ["", "a,,b", "a,a", &"a".repeat(257)] {
            assert_eq!(bad.parse::<Names>(), Err(NotAllowed::new(bad, ALLOWED)));
        }
        for bad in ["[]", "[1]", r#""a""#, r#"["a","a"]"#] {
            let error = serde_json::from_str::<Names>(bad).expect_err(bad).to_string();
            assert_eq!(error, format!("`{bad}` is not allowed: {ALLOWED}"));
        }
    }
}
