//! `thermograph diff`: what changed between two captures, as a flame graph.
//!
//! It asks no service: both captures are files that `thermograph capture` or `flamegraph` kept.

use std::path::PathBuf;

use anyhow::ensure;

use super::capture::{self, Kept};
use crate::diagnostics::{
    ValueType,
    flamegraph::{self, Caption},
};

/// Draw what changed between two captures.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The capture to compare with, a .pb.gz or .folded file.
    pub before: PathBuf,
    /// The capture to draw, another such file.
    pub after: PathBuf,
    /// Where to write the picture [default: flamegraphs/diff-BEFORE-AFTER.svg].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Draws, and prints where the picture is.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Args { before, after, output } = args;
    let (before, after) = (Kept::open(before)?, Kept::open(after)?);
    let caption = Caption {
        title: format!("{} → {}", before.name, after.name),
        subtitle: "red grew, blue shrank, as shares of all; as wide as after; \
                   frames of library, runtime and framework are left out"
            .to_owned(),
        unit: unit(&before, &after)?,
    };
    let svg = flamegraph::draw_difference(&before.profile, &after.profile, &caption)?;
    let name = || format!("flamegraphs/diff-{}-{}.svg", before.name, after.name);
    let path = output.clone().unwrap_or_else(|| name().into());
    capture::write(&path, &svg)?;
    anstream::println!("{}", path.display());
    Ok(())
}

/// What both measure; folded stacks do not say it.
fn unit(before: &Kept, after: &Kept) -> anyhow::Result<&'static str> {
    let measures = [before, after].map(|kept| kept.profile.values.last().copied());
    if let [Some(of_before), Some(of_after)] = measures {
        let say = |ValueType { kind, unit }| format!("{kind} in {unit}");
        ensure!(
            of_before == of_after,
            "{} measures {}, {} {}: they cannot be compared",
            before.name,
            say(of_before),
            after.name,
            say(of_after)
        );
    }
    let unit = measures.into_iter().flatten().next().map(|measure| measure.unit);
    Ok(match unit {
        Some("nanoseconds") => "ns",
        Some(unit) => unit,
        None => "units",
    })
}
