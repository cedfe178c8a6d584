//! `thermograph diff`: what changed between two captures, as a flame graph.
//!
//! It asks no service: both captures are files that were kept.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use thermograph_profile::captures::{Folder, Form, Kind, Name, Side, draw_difference, write};

use super::{capture::Kept, captures::Place};

/// Draw what changed between two captures.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The capture to compare with: its name, or a .pb.gz or .folded file.
    pub before: String,
    /// The capture to draw, another such.
    pub after: String,
    /// Where captures are kept.
    #[command(flatten)]
    pub place: Place,
    /// Where to write the picture [default: flamegraphs/TIME-diff-WHAT.svg].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Draws, and prints where the picture is.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = args.place.folder();
    let (before, after) = (find(&folder, &args.before)?, find(&folder, &args.after)?);
    let svg = draw_difference(
        Side { name: &before.name, profile: &before.profile },
        Side { name: &after.name, profile: &after.profile },
    )?;
    if let Some(path) = &args.output {
        write(path, &svg)?;
        anstream::println!("{}", path.display());
        return Ok(());
    }
    let of = of(&before.name, &after.name);
    let name =
        folder.save(Name::new(SystemTime::now(), Kind::Diff, Some(&of)), &[(Form::Svg, &svg)])?;
    anstream::println!("{}", args.place.path(&Form::Svg.file(&name)));
    Ok(())
}

/// A capture by its name, and else a file.
fn find(folder: &Folder, given: &str) -> anyhow::Result<Kept> {
    match given.parse::<Name>() {
        Ok(name) => Ok(Kept { name: given.to_owned(), profile: folder.profile(&name)? }),
        Err(_) => Kept::open(Path::new(given)),
    }
}

/// What tells this difference from others: what both are of, where that is the same.
fn of(before: &str, after: &str) -> String {
    let subject = |name: &str| match name.parse::<Name>() {
        Ok(name) => name.subject(),
        Err(_) => name.to_owned(),
    };
    let (before, after) = (subject(before), subject(after));
    if before == after { after } else { format!("{before}-{after}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_after_what_both_are_of() {
        let (one, two) = ("20261125T143000Z-cpu-POST-a", "20261125T150000Z-cpu-POST-a");
        assert_eq!(of(one, two), "cpu-POST-a");
        assert_eq!(of(one, "20261125T150000Z-cpu"), "cpu-POST-a-cpu");
        assert_eq!(of("slow", "fast"), "slow-fast");
    }
}
