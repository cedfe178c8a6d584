//! The difference between two captures, as a flame graph.

use thiserror::Error;

use crate::{
    Profile, ValueType,
    flamegraph::{self, Caption},
};

/// One of two captures that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Name of the capture, for the title and for errors.
    pub name: &'a str,
    /// Profile of the capture.
    pub profile: &'a Profile,
}

/// The reason why two captures were not compared.
#[derive(Debug, Error)]
pub enum Incomparable {
    /// The capture of this name has no stack with a weight.
    #[error("{0} has no stack in it: nothing was captured")]
    Empty(String),
    /// The captures measure different values, or the same in different units; the text names both.
    #[error("{0}: they cannot be compared")]
    Measures(String),
    /// The flame graph could not be written.
    #[error("the picture could not be drawn: {0}")]
    Drawing(#[from] std::io::Error),
}

/// Draws the difference between two captures as SVG, with the widths of `after`.
pub fn draw_difference(before: Side<'_>, after: Side<'_>) -> Result<Vec<u8>, Incomparable> {
    for Side { name, profile } in [before, after] {
        if profile.is_empty() {
            return Err(Incomparable::Empty(name.to_owned()));
        }
    }
    let caption = Caption {
        title: format!("{} → {}", before.name, after.name),
        subtitle: "red grew, blue shrank, as shares of all; as wide as after; \
                   frames of library, runtime and framework are left out"
            .to_owned(),
        unit: unit(before, after)?,
    };
    Ok(flamegraph::draw_difference(before.profile, after.profile, &caption)?)
}

/// The unit that both measure in; folded stacks do not say it.
fn unit(before: Side<'_>, after: Side<'_>) -> Result<&'static str, Incomparable> {
    let measures = [before, after].map(|side| side.profile.values.last().copied());
    if let [Some(of_before), Some(of_after)] = measures
        && of_before != of_after
    {
        let say = |ValueType { kind, unit }| format!("{kind} in {unit}");
        let (of_before, of_after) = (say(of_before), say(of_after));
        let measures = format!("{} measures {of_before}, {} {of_after}", before.name, after.name);
        return Err(Incomparable::Measures(measures));
    }
    let unit = measures.into_iter().flatten().next().map(|measure| measure.unit);
    Ok(match unit {
        Some("nanoseconds") => "ns",
        Some(unit) => unit,
        None => "units",
    })
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::{Frame, Location, Sample};

    fn profile(kind: &'static str, leaves: &[&str]) -> Profile {
        let sample = |leaf: &&str| Sample {
            stack: vec![Arc::new(Location::named(Frame::named(leaf)))],
            values: vec![7],
            labels: Vec::new(),
        };
        Profile {
            values: vec![ValueType { kind, unit: "nanoseconds" }],
            samples: leaves.iter().map(sample).collect(),
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            period: None,
            dropped: 0,
        }
    }

    #[test]
    fn only_what_measures_the_same_is_compared() {
        let (cpu, delay) = (profile("cpu", &["app::hot"]), profile("delay", &["app::hot"]));
        let side = |name, profile| Side { name, profile };
        let svg = draw_difference(side("a", &cpu), side("b", &cpu)).expect("draws");
        let svg = String::from_utf8(svg).expect("text");
        assert!(svg.contains("a → b") && svg.contains("app::hot (7 ns"), "{svg}");
        let refused = draw_difference(side("a", &cpu), side("b", &delay)).expect_err("another");
        let said = "a measures cpu in nanoseconds, b delay in nanoseconds: they cannot";
        assert!(refused.to_string().contains(said), "{refused}");
        let nothing = profile("cpu", &[]);
        let refused = draw_difference(side("a", &cpu), side("b", &nothing)).expect_err("empty");
        assert_eq!(refused.to_string(), "b has no stack in it: nothing was captured");
    }
}
