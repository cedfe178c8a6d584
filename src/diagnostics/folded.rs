//! A profile as folded stacks: a line a stack, root first, frames joined by `;`, then its value.

use std::{collections::BTreeMap, fmt::Write as _};

use super::profile::{Profile, Sample};

/// Folds; each stack stands once, under the name of its thread.
pub(crate) fn fold(profile: &Profile) -> String {
    let mut stacks = BTreeMap::<String, i64>::new();
    for sample in &profile.samples {
        *stacks.entry(stack(sample)).or_default() += sample.weight();
    }
    let mut text = String::new();
    for (stack, value) in stacks.into_iter().filter(|(stack, _)| !stack.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{stack} {value}");
    }
    text
}

fn stack(sample: &Sample) -> String {
    let thread = sample.label("thread").map(pool);
    let frames = sample.stack.iter().rev().map(|frame| frame.name.as_str());
    let names: Vec<_> = thread.into_iter().chain(frames).map(plain).collect();
    names.join(";")
}

/// The name of the pool that a thread belongs to: `engine-cpu` for `engine-cpu-1`.
fn pool(thread: &str) -> &str {
    thread.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-')
}

/// A name without the characters that have a meaning in the format.
fn plain(name: &str) -> String {
    name.replace([';', '\n'], ":")
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use super::{super::profile::Frame, *};

    #[test]
    fn equal_stacks_of_a_pool_are_one_line() {
        let frame = |name: &str| {
            let linkage = String::new();
            Arc::new(Frame { name: name.to_owned(), linkage, file: String::new(), line: 0 })
        };
        let sample = |thread: &str| Sample {
            stack: vec![frame("<[u8; 4]>::leaf"), frame("root")],
            values: vec![1, 10],
            labels: vec![("thread", thread.to_owned())],
        };
        let profile = Profile {
            values: Vec::new(),
            samples: vec![sample("engine-cpu-0"), sample("engine-cpu-1")],
            start: SystemTime::now(),
            duration: Duration::ZERO,
            period: None,
            dropped: 0,
        };
        assert_eq!(fold(&profile), "engine-cpu;root;<[u8: 4]>::leaf 20\n");
    }
}
