//! The hottest functions, as perf has them and as we do.

use std::{collections::HashMap, fmt::Write as _};

use thermograph_profile::{Location, Profile, folded};

use super::stacks::KERNEL;

/// Functions that are shown.
const SHOWN: usize = 12;

/// The functions that threads stood in themselves, the hottest of either first.
pub(super) fn table(perf: &Profile, ours: &Profile) -> String {
    let (theirs, own) = (shares(perf), shares(ours));
    let share =
        |shares: &HashMap<String, f64>, name: &str| shares.get(name).copied().unwrap_or_default();
    let mut rows: Vec<_> = theirs.keys().chain(own.keys()).collect();
    rows.sort_unstable();
    rows.dedup();
    let most = |name: &str| share(&theirs, name).max(share(&own, name));
    rows.sort_by(|one, other| most(other).total_cmp(&most(one)));
    let mut text = format!("{:>8}  {:>8}  function\n", "perf", "ours");
    // Writing to a string cannot fail.
    for name in rows.into_iter().take(SHOWN) {
        let (theirs, own) = (share(&theirs, name), share(&own, name));
        let _ = writeln!(text, "{theirs:>6.1} %  {own:>6.1} %  {name}");
    }
    let (theirs, own) = (perf.count().0, ours.count().0);
    let _ = writeln!(
        text,
        "self time over one window: {theirs} samples of perf, {own} of ours; inlined functions \
         count as the one they stand in, the kernel's as the one that called it"
    );
    text
}

/// Hundredths of all self time, by function.
fn shares(profile: &Profile) -> HashMap<String, f64> {
    let mut shares = HashMap::<String, f64>::new();
    let mut all = 0.0;
    for sample in &profile.samples {
        let weight = sample.weight() as f64;
        all += weight;
        let mut names = sample.stack.iter().map(|location| function(location));
        // Ours sees no kernel: a thread stands in what called it.
        if let Some(name) = names.find(|name| !name.ends_with(KERNEL)) {
            *shares.entry(name).or_default() += weight;
        }
    }
    for share in shares.values_mut() {
        *share *= 100.0 / all.max(1.0);
    }
    shares
}

/// The function at a location that the linker knows; what is inlined there is part of it.
fn function(location: &Location) -> String {
    match location.frames.last() {
        Some(frame) => frame.name.clone(),
        None => folded::unnamed(location),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use thermograph_profile::{Frame, Sample, ValueType};

    use super::*;

    /// Stacks by their names, the leaf first; names that are inlined into the next end with `>`.
    fn profile(stacks: &[(&[&str], i64)]) -> Profile {
        let location = |names: &&str| {
            let frames = names.split('>').map(|name| Arc::new(Frame::named(name))).collect();
            Arc::new(Location { address: 0, mapping: None, frames })
        };
        let sample = |(stack, weight): &(&[&str], i64)| Sample {
            stack: stack.iter().map(location).collect(),
            values: vec![*weight],
            labels: Vec::new(),
        };
        Profile {
            values: vec![ValueType { kind: "samples", unit: "count" }],
            samples: stacks.iter().map(sample).collect(),
            start: SystemTime::now(),
            duration: Duration::ZERO,
            period: None,
            dropped: 0,
        }
    }

    #[test]
    fn the_same_function_is_one_row_and_the_kernel_is_none() {
        let perf = profile(&[
            (&["app::hot", "app::main"], 60),
            (&["halt_[k]", "entry_[k]", "read", "app::main"], 30),
            (&["app::rare"], 10),
        ]);
        let ours = profile(&[
            (&["add>sum>app::hot", "app::main"], 150),
            (&["app::hot", "app::main"], 25),
            (&["read", "app::main"], 25),
        ]);
        let table = table(&perf, &ours);
        let rows: Vec<_> = table.lines().take(4).collect();
        assert_eq!(
            rows,
            [
                "    perf      ours  function",
                "  60.0 %    87.5 %  app::hot",
                "  30.0 %    12.5 %  read",
                "  10.0 %     0.0 %  app::rare",
            ]
        );
        assert!(table.contains("100 samples of perf, 200 of ours"), "{table}");
    }

    #[test]
    fn only_the_hottest_are_shown() {
        let names: Vec<_> = (0..50).map(|number| format!("f{number:02}")).collect();
        let stacks: Vec<_> = names.iter().map(|name| [name.as_str()]).collect();
        let stacks: Vec<_> = stacks.iter().zip(1..).map(|(stack, n)| (&stack[..], n)).collect();
        let table = table(&profile(&stacks), &profile(&[]));
        assert!(table.contains(" f49\n") && !table.contains(" f37\n"), "{table}");
    }
}
