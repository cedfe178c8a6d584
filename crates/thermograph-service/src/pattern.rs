//! Names of models with a `*` in them, which stands for any characters.

/// A name with one `*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pattern {
    before: String,
    after: String,
}

impl Pattern {
    /// Returns whether a name is a pattern, or is meant to be one.
    pub(crate) fn is_one(name: &str) -> bool {
        name.contains('*')
    }

    /// Reads a pattern; `None` unless there is exactly one `*`.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let (before, after) = name.split_once('*')?;
        let (before, after) = (before.to_owned(), after.to_owned());
        (!after.contains('*')).then_some(Self { before, after })
    }

    /// Number of bytes that are literal: the more, the more specific.
    pub(crate) fn literal(&self) -> usize {
        self.before.len() + self.after.len()
    }

    pub(crate) fn fits(&self, name: &str) -> bool {
        self.wildcard(name).is_some()
    }

    /// The part of a name for which `*` stands, if the name fits.
    pub(crate) fn wildcard<'a>(&self, name: &'a str) -> Option<&'a str> {
        wildcard(&self.before, &self.after, name)
    }

    /// The name with this in place of `*`.
    pub(crate) fn with(&self, wildcard: &str) -> String {
        [&self.before, wildcard, &self.after].concat()
    }
}

/// Returns whether a model's name is `allowed`, or fits it if that is a pattern.
pub(crate) fn allows(allowed: &str, name: &str) -> bool {
    match allowed.split_once('*') {
        None => allowed == name,
        Some((before, after)) => wildcard(before, after, name).is_some(),
    }
}

/// Returns whether there are more `*` than a pattern has.
pub(crate) fn is_ambiguous(name: &str) -> bool {
    name.matches('*').count() > 1
}

fn wildcard<'a>(before: &str, after: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(before)?.strip_suffix(after)
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
        for (allowed, expected) in [("gpt-*", true), ("*", true), ("gpt-9", true), ("gpt", false)] {
            assert_eq!(allows(allowed, "gpt-9"), expected, "{allowed}");
        }
        assert_eq!((Pattern::new("gpt-4"), Pattern::new("a*b*")), (None, None));
        let renamed = Pattern::new("openai/*").expect("a pattern").with("gpt-4");
        assert_eq!(renamed, "openai/gpt-4");
    }
}
