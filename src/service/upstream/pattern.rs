//! Names of models with a `*` in them, which stands for any characters.

/// A name with one `*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pattern {
    before: String,
    after: String,
}

impl Pattern {
    /// Returns whether a name is a pattern, or is meant to be one.
    pub(super) fn is_one(name: &str) -> bool {
        name.contains('*')
    }

    /// Reads a pattern; `None` unless there is exactly one `*`.
    pub(super) fn new(name: &str) -> Option<Self> {
        let (before, after) = name.split_once('*')?;
        let (before, after) = (before.to_owned(), after.to_owned());
        (!after.contains('*')).then_some(Self { before, after })
    }

    /// Number of bytes that are literal: the more, the more specific.
    pub(super) fn literal(&self) -> usize {
        self.before.len() + self.after.len()
    }

    pub(super) fn fits(&self, name: &str) -> bool {
        self.wildcard(name).is_some()
    }

    /// The part of a name for which `*` stands, if the name fits.
    pub(super) fn wildcard<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&*self.before)?.strip_suffix(&*self.after)
    }

    /// The name with this in place of `*`.
    pub(super) fn with(&self, wildcard: &str) -> String {
        [&self.before, wildcard, &self.after].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, expected) in [
            ("gpt-*", "gpt-9", Some("9")),
            ("gpt-*", "gpt-", Some("")),
            ("gpt-*", "my-gpt-9", None),
            ("*", "any/thing", Some("any/thing")),
            ("*-mini", "gpt-mini", Some("gpt")),
            ("a*a", "a", None),
            ("a*a", "aa", Some("")),
        ] {
            let pattern = Pattern::new(pattern).expect("a pattern");
            assert_eq!(pattern.wildcard(name), expected, "{pattern:?} {name}");
        }
        assert_eq!((Pattern::new("gpt-4"), Pattern::new("a*b*")), (None, None));
        let renamed = Pattern::new("openai/*").expect("a pattern").with("gpt-4");
        assert_eq!(renamed, "openai/gpt-4");
    }
}
