//! What the mock says: words of several writings, so that splitting UTF-8 matters.

/// A token each, with the space before it; none needs escaping in JSON.
const WORDS: [&str; 16] = [
    " Wärme",
    " flows",
    " from",
    " 東京",
    " to",
    " Zürich",
    " 🔥",
    " and",
    " größere",
    " Мосты",
    " cool",
    " 👩‍🚀",
    " slowly",
    " naïve",
    " 温度",
    " falls",
];

/// The word at a place; the first has no space before it.
pub(super) fn word(index: usize) -> &'static str {
    let word = WORDS[index % WORDS.len()];
    if index == 0 { word.trim_start() } else { word }
}

/// So many words in a row.
pub(super) fn text(words: usize) -> String {
    (0..words).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_many_as_asked_for_and_are_json_as_they_are() {
        let text = text(40);
        assert_eq!(text.split(' ').count(), 40);
        assert_eq!(serde_json::to_string(&text).expect("JSON"), format!("\"{text}\""));
        assert!(text.chars().any(|letter| letter.len_utf8() == 4));
    }
}
