//! How the program was built.

use crate::{build_info::BuildInfo, checks::Finding};

pub(super) fn findings() -> Vec<Finding> {
    of(BuildInfo::CURRENT, cfg!(optimised) && !cfg!(debug_assertions))
}

fn of(build: BuildInfo, is_optimised: bool) -> Vec<Finding> {
    vec![tokio_unstable(build), frame_pointers(build), optimised(is_optimised)]
}

fn tokio_unstable(build: BuildInfo) -> Finding {
    let what = "tokio_unstable";
    match missing(BuildInfo { frame_pointers: true, ..build }) {
        Some((says, mend)) => Finding::bad(what, says, mend),
        None => {
            Finding::good(what, "on: tokio-console lists tasks, and the hooks can be installed")
        }
    }
}

fn frame_pointers(build: BuildInfo) -> Finding {
    let what = "frame_pointers";
    match missing(BuildInfo { tokio_unstable: true, ..build }) {
        Some((says, mend)) => Finding::warning(what, says, mend),
        None => Finding::good(what, "on: stacks go through code without unwind tables, too"),
    }
}

/// What the one flag that is off costs, and what brings it back.
fn missing(build: BuildInfo) -> Option<(&'static str, &'static str)> {
    let sentence = *build.missing().first()?;
    Some(sentence.split_once("; ").unwrap_or((sentence, "build again")))
}

fn optimised(is_optimised: bool) -> Finding {
    if is_optimised {
        return Finding::good("optimised", "built with optimisation: times are what users see");
    }
    Finding::warning(
        "optimised",
        "built without optimisation, or with debug assertions: what takes time here may take none in a release",
        "cargo run --release",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::State;

    #[test]
    fn each_flag_that_is_missing_is_found_by_itself() {
        let all = of(BuildInfo { tokio_unstable: true, frame_pointers: true }, true);
        assert!(all.iter().all(|finding| finding.state == State::Good), "{all:?}");
        let none = of(BuildInfo { tokio_unstable: false, frame_pointers: false }, false);
        let states: Vec<_> = none.iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Bad, State::Warning, State::Warning]);
        let mend = |place: usize| none[place].mend.as_deref().expect("something to mend");
        assert!(none[0].says.contains("tokio-console"), "{none:?}");
        assert!(mend(0).contains("--cfg tokio_unstable"), "{none:?}");
        assert!(mend(1).contains("-C force-frame-pointers=yes"), "{none:?}");
        let console = of(BuildInfo { tokio_unstable: false, frame_pointers: true }, true);
        let states: Vec<_> = console.iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Bad, State::Good, State::Good]);
    }
}
