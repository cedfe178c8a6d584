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

/// Letters of the text before the word at a place.
pub(super) fn letters_before(index: usize) -> usize {
    let letters = |words: &[&str]| words.iter().map(|word| word.chars().count()).sum::<usize>();
    let (rounds, rest) = (index / WORDS.len(), index % WORDS.len());
    // The first word has no space before it.
    (rounds * letters(&WORDS) + letters(&WORDS[..rest])).saturating_sub(1)
}

/// So many words in a row.
pub(super) fn text(words: usize) -> String {
    (0..words).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_before_a_word_are_those_of_the_text() {
        for index in 0..40 {
            assert_eq!(letters_before(index), text(index).chars().count(), "{index}");
        }
    }

    #[test]
    fn words_are_as_many_as_asked_for_and_are_json_as_they_are() {
        let text = text(40);
        assert_eq!(text.split(' ').count(), 40);
        assert_eq!(serde_json::to_string(&text).expect("JSON"), format!("\"{text}\""));
        assert!(text.chars().any(|letter| letter.len_utf8() == 4));
    }
}
