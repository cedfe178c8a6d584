//! Texts to embed: the same for the same number, in every run, and hardly ever twice.

use std::fmt::Write as _;

/// A sentence of about a dozen words.
pub(crate) fn sentence(seed: u64) -> String {
    let mut random = Random(seed);
    let mut text = String::new();
    push_sentence(&mut text, &mut random);
    text
}

/// A paragraph of about 200 tokens.
pub(crate) fn paragraph(seed: u64) -> String {
    // Sentences have 11 to 15 words, and these common words are a token each.
    const SENTENCES: usize = 14;
    let mut random = Random(!seed);
    let mut text = String::new();
    for _ in 0..SENTENCES {
        push_sentence(&mut text, &mut random);
    }
    text
}

/// 8 to 32 sentences.
pub(crate) fn batch(seed: u64) -> Vec<String> {
    let mut random = Random(seed ^ 0x5eed);
    let size = 8 + random.below(25);
    (0..size).map(|_| sentence(random.next())).collect()
}

fn push_sentence(text: &mut String, random: &mut Random) {
    let mut pick = |words: &[&'static str]| words[random.below(words.len())];
    let (subject, verb, object) = (pick(&SUBJECTS), pick(&VERBS), pick(&OBJECTS));
    let (place, time) = (pick(&PLACES), pick(&TIMES));
    let number = 2 + random.below(9998);
    let gap = if text.is_empty() { "" } else { " " };
    // Writing to a string cannot fail.
    let _ = write!(text, "{gap}{subject} {verb} {number} {object} {place} {time}.");
}

/// `SplitMix64`: every seed gives a good sequence, near ones too.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

const SUBJECTS: [&str; 12] = [
    "The old captain",
    "A young teacher",
    "The city council",
    "Our next neighbour",
    "The night train",
    "A small company",
    "The new engine",
    "My youngest sister",
    "The village doctor",
    "A careful student",
    "The busy market",
    "The quiet river",
];
const VERBS: [&str; 12] = [
    "carried",
    "counted",
    "measured",
    "sold",
    "painted",
    "repaired",
    "found",
    "moved",
    "ordered",
    "described",
    "compared",
    "returned",
];
const OBJECTS: [&str; 12] = [
    "wooden boxes",
    "green apples",
    "short letters",
    "heavy books",
    "glass bottles",
    "warm coats",
    "paper maps",
    "silver coins",
    "large stones",
    "simple questions",
    "fresh loaves",
    "clean tables",
];
const PLACES: [&str; 10] = [
    "near the harbour",
    "behind the station",
    "across the valley",
    "under the bridge",
    "in the garden",
    "along the coast",
    "at the border",
    "inside the library",
    "on the hill",
    "beside the church",
];
const TIMES: [&str; 10] = [
    "before the rain",
    "last summer",
    "early this morning",
    "after the war",
    "every second week",
    "late at night",
    "during the holiday",
    "since the spring",
    "without any help",
    "for the first time",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_number_makes_the_same_text() {
        assert_eq!(sentence(7), sentence(7));
        assert_eq!(paragraph(7), paragraph(7));
        assert_eq!(batch(7), batch(7));
    }

    #[test]
    fn other_numbers_make_other_texts() {
        let texts: HashSet<_> = (0..1000).map(sentence).chain((0..1000).map(paragraph)).collect();
        assert_eq!(texts.len(), 2000);
    }

    #[test]
    fn the_sizes_are_as_promised() {
        for seed in 0..200 {
            let words = paragraph(seed).split_whitespace().count();
            assert!((130..=210).contains(&words), "{words}");
            assert!((8..=32).contains(&batch(seed).len()));
        }
        let sizes: HashSet<_> = (0..500).map(|seed| batch(seed).len()).collect();
        assert_eq!(sizes.len(), 25, "every size occurs");
    }
}
