//! Folded stacks as an interactive flame graph (SVG), by `inferno`: of one profile, or of what
//! changed between two.

mod caption;

use std::{collections::HashSet, fmt::Write as _};

use inferno::{
    differential,
    flamegraph::{self, Options},
};

use super::{folded, profile::Profile};

pub use self::caption::Caption;

/// Draws a profile, without the machinery of library, runtime and framework. The subtitle begins
/// with when it was captured, for how long, and how many samples there are.
///
/// ```
/// use std::{sync::Arc, time::{Duration, SystemTime}};
///
/// use thermograph_profile::{
///     Frame, Location, Profile, Sample, ValueType,
///     flamegraph::{self, Caption},
/// };
///
/// let profile = Profile {
///     values: vec![ValueType { kind: "cpu", unit: "nanoseconds" }],
///     samples: vec![Sample {
///         stack: vec![Arc::new(Location::named(Frame::named("app::hot")))],
///         values: vec![10_000_000],
///         labels: Vec::new(),
///     }],
///     start: SystemTime::now(),
///     duration: Duration::from_secs(1),
///     period: None,
///     dropped: 0,
/// };
/// let svg = String::from_utf8(flamegraph::draw(&profile, &Caption::cpu())?)?;
/// assert!(svg.contains("app::hot"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn draw(profile: &Profile, caption: &Caption) -> std::io::Result<Vec<u8>> {
    draw_folded(&folded::fold_without_plumbing(profile), &caption.told(&[profile]))
}

/// Draws what changed between two profiles, without the machinery: stacks are as wide as in the
/// second, red where their share grew and blue where it shrank.
///
/// Shares are compared, not sums: the windows need not be equally long. What is in the first only
/// has no width; the subtitle says how much that is, and the other order shows it.
pub fn draw_difference(
    before: &Profile,
    after: &Profile,
    caption: &Caption,
) -> std::io::Result<Vec<u8>> {
    let options = differential::Options { normalize: true, ..differential::Options::default() };
    let [first, second] = folded::fold_pair_without_plumbing(before, after);
    let mut both = Vec::new();
    differential::from_readers(options, first.as_bytes(), second.as_bytes(), &mut both)?;
    let mut caption = caption.told(&[before, after]);
    let gone = gone(&first, &second);
    if gone >= 0.1 {
        // Writing to a string cannot fail.
        let _ = write!(caption.subtitle, "; {gone:.1} % of before is in functions that are gone");
    }
    draw_folded(&String::from_utf8_lossy(&both), &caption)
}

/// Percentage of `before` in functions that are not in `after` at all. A stack that is
/// gone says little: the same function has many, and few of them are sampled twice.
fn gone(before: &str, after: &str) -> f64 {
    let names: HashSet<_> = stacks(after).flat_map(|(stack, _)| stack.split(';')).collect();
    let (mut gone, mut all) = (0.0, 0.0);
    for (stack, value) in stacks(before) {
        let value = value.parse().unwrap_or(0.0);
        all += value;
        gone += if stack.split(';').all(|name| names.contains(name)) { 0.0 } else { value };
    }
    100.0 * gone / all
}

/// The stacks and their values.
fn stacks(folded: &str) -> impl Iterator<Item = (&str, &str)> {
    folded.lines().filter_map(|line| line.rsplit_once(' '))
}

/// Draws folded stacks as they are; no stack at all, or none with a weight, makes a picture
/// that says so.
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
    // Memory that was all freed has stacks, and no weight.
    let is_nothing = stacks(folded).all(|(_, value)| value.parse() == Ok(0_u64));
    let lines = if is_nothing { "nothing was captured 1\n" } else { folded };
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.lines(), &mut svg)?;
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use super::{
        super::profile::{Frame, Location, Sample},
        *,
    };

    fn caption() -> Caption {
        Caption { title: "T".into(), subtitle: "S".into(), unit: "ns" }
    }

    #[test]
    fn draws_what_is_there_and_says_when_nothing_is() {
        let svg = |folded| {
            String::from_utf8(draw_folded(folded, &caption()).expect("draws")).expect("text")
        };
        assert!(svg("main;hot 10\n").contains("hot (10 ns, 100"));
        for nothing in ["", "main;freed 0\n"] {
            assert!(svg(nothing).contains("nothing was captured"), "{nothing:?}");
        }
    }

    /// Stacks of `main` and a leaf.
    fn profile(leaves: &[(&str, i64)]) -> Profile {
        let named = |name: &str| Arc::new(Location::named(Frame::named(name)));
        let sample = |(leaf, value): &(&str, i64)| Sample {
            stack: vec![named(leaf), named("tokio::runtime::park"), named("main")],
            values: vec![*value],
            labels: Vec::new(),
        };
        Profile {
            values: Vec::new(),
            samples: leaves.iter().map(sample).collect(),
            start: SystemTime::now(),
            duration: Duration::ZERO,
            period: None,
            dropped: 1,
        }
    }

    #[test]
    fn what_grew_is_red_and_what_shrank_is_blue() {
        let before = profile(&[("grew", 10), ("shrank", 10), ("same", 10), ("gone", 10)]);
        // Twice as long: what took as much of it as before is the same.
        let after = profile(&[("grew", 50), ("shrank", 10), ("same", 20)]);
        let svg = draw_difference(&before, &after, &caption()).expect("draws");
        let svg = String::from_utf8(svg).expect("text");
        let fill = |title: &str| {
            let (_, rest) = svg.split_once(title).unwrap_or_else(|| panic!("no {title}: {svg}"));
            let (_, fill) = rest.split_once("fill=\"").expect("a rectangle");
            fill.split('"').next().expect("a colour")
        };
        assert_eq!(fill("<title>grew (50 ns, 62.50%; +37.50%)"), "rgb(255,100,100)");
        assert_eq!(fill("<title>same (20 ns, 25.00%; 0.00%)"), "rgb(250,250,250)");
        assert_eq!(fill("<title>shrank (10 ns, 12.50%; -12.50%)"), "rgb(200,200,255)");
        assert!(svg.contains("S; 25.0 % of before is in"), "{svg}");
        assert!(svg.contains("4 stacks, 1 dropped →"), "{svg}");
        assert!(!svg.contains("tokio::"), "machinery in the picture");
    }
}
