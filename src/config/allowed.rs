//! What is allowed, in words for who writes the file: the parsers speak to who writes Rust.

/// What the parsers say, and what is said instead.
const WORDS: [(&str, &str); 11] = [
    ("expected a map", "expected tables, such as `[upstreams.a]`"),
    ("expected a sequence", "expected a list, such as [\"a\", \"b\"]"),
    ("expected a boolean", "expected true or false, without quotes"),
    ("expected usize", "expected a whole number, 0 or more"),
    ("expected u64", "expected a whole number, 0 or more"),
    ("expected u32", "expected a whole number, 0 or more"),
    ("expected u8", "expected a whole number, 0 to 255"),
    ("expected f64", "expected a number"),
    ("invalid type: unit variant, expected string only", "expected a word, in quotes"),
    ("expected path string", "expected a path, in quotes"),
    ("invalid socket address syntax", "an address and a port of 0 to 65535: \"127.0.0.1:8080\""),
];
/// How the parsers speak of times.
const TIMES: [&str; 2] = ["duration format", "duration string"];

/// What is allowed where a parser says this.
pub(super) fn of(message: &str) -> String {
    if TIMES.iter().any(|times| message.contains(times)) {
        return "a time, 0 or more, in quotes and with its unit, such as \"500ms\" or \"1m 30s\""
            .to_owned();
    }
    if let Some((before, _)) = message.split_once("expected struct ") {
        return format!("{before}expected a table");
    }
    let said = WORDS.iter().find(|(said, _)| message.ends_with(said));
    said.map_or_else(|| message.to_owned(), |(said, instead)| message.replace(said, instead))
}

/// Takes the value out of a message that may repeat it; the expectation stays.
pub(super) fn without_value(message: String) -> String {
    let repeats = ["invalid type: ", "invalid value: ", "unknown variant "];
    if !repeats.iter().any(|start| message.starts_with(start)) {
        return message;
    }
    match message.rfind("expected ") {
        Some(at) => message[at..].to_owned(),
        None => "another value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parsers_say_is_put_in_words_of_the_file() {
        let said = of("invalid type: string \"yes\", expected a boolean");
        assert_eq!(said, "invalid type: string \"yes\", expected true or false, without quotes");
        let said = of("invalid type: integer `3`, expected struct HealthConfig");
        assert_eq!(said, "invalid type: integer `3`, expected a table");
        assert!(
            of("invalid type: integer `5`, expected an unsigned duration string").contains("500ms")
        );
        assert_eq!(of("1 to 1000"), "1 to 1000");
    }
}
