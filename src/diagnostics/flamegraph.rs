//! Folded stacks as an interactive flame graph (SVG), by `inferno`.

use std::fmt::Write as _;

use inferno::flamegraph::{self, Options};

use super::{folded, profile::Profile};

/// What a flame graph says of itself.
#[derive(Clone, Debug)]
pub struct Caption {
    /// Title at the top.
    pub title: String,
    /// Line below the title.
    pub subtitle: String,
    /// Unit of the values, such as `ns`.
    pub unit: &'static str,
}

impl Caption {
    /// Of CPU time that was sampled for some seconds.
    pub(crate) fn cpu(seconds: u64, frequency: u32) -> Self {
        let subtitle = format!(
            "{seconds} s at {frequency} Hz; frames of library, runtime and framework are left out"
        );
        Self { title: "CPU time by stack".to_owned(), subtitle, unit: "ns" }
    }

    /// Of spans that were recorded for some seconds.
    pub(crate) fn spans(seconds: u64) -> Self {
        let subtitle = format!("{seconds} s; time in which a span was entered");
        Self { title: "Time in spans".to_owned(), subtitle, unit: "ns" }
    }
}

/// Draws a profile, without the machinery of library, runtime and framework.
pub fn draw(profile: &Profile, caption: &Caption) -> std::io::Result<Vec<u8>> {
    let mut caption = caption.clone();
    if profile.dropped > 0 {
        // Writing to a string cannot fail.
        let _ = write!(caption.subtitle, "; {} samples were dropped", profile.dropped);
    }
    draw_folded(&folded::fold_without_plumbing(profile), &caption)
}

/// Draws folded stacks as they are; no stack at all makes a picture that says so.
pub fn draw_folded(folded: &str, caption: &Caption) -> std::io::Result<Vec<u8>> {
    let mut options = Options::default();
    options.title.clone_from(&caption.title);
    options.subtitle = Some(caption.subtitle.clone());
    caption.unit.clone_into(&mut options.count_name);
    // Colours by name: the same function has the same colour in every picture.
    options.hash = true;
    // A single sample of a quarter of a minute is half a pixel wide, and can be searched for.
    options.min_width = 0.03;
    // Wide enough for the names of what takes a few hundredths.
    options.image_width = Some(1600);
    let lines = if folded.is_empty() { "nothing was captured 1\n" } else { folded };
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.lines(), &mut svg)?;
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_what_is_there_and_says_when_nothing_is() {
        let caption = Caption { title: "T".into(), subtitle: "S".into(), unit: "ns" };
        let svg = |folded| {
            String::from_utf8(draw_folded(folded, &caption).expect("draws")).expect("text")
        };
        assert!(svg("main;hot 10\n").contains("hot (10 ns, 100"));
        assert!(svg("").contains("nothing was captured"));
    }
}
