//! A profile as folded stacks: a line a stack, root first, frames joined by `;`, then its value.
//!
//! The first frame is the handler, such as `GET /hello`, and the second the pool of threads; work
//! that belongs to no handler begins with the pool.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, path::Path};

use super::{
    plumbing,
    profile::{Location, Profile, Sample},
};

/// Folds a profile; each stack stands once, under the names of its handler and its pool of threads.
///
/// ```
/// use std::{sync::Arc, time::{Duration, SystemTime}};
///
/// use thermograph_profile::{Frame, Location, Profile, Sample, ValueType, folded};
///
/// let frame = |name| Arc::new(Location::named(Frame::named(name)));
/// let profile = Profile {
///     values: vec![ValueType { kind: "cpu", unit: "nanoseconds" }],
///     samples: vec![Sample {
///         stack: vec![frame("app::hot"), frame("app::main")],
///         values: vec![10_000_000],
///         labels: vec![
///             ("method", "GET".to_owned()),
///             ("route", "/hot".to_owned()),
///             ("thread", "worker-1".to_owned()),
///         ],
///     }],
///     start: SystemTime::now(),
///     duration: Duration::from_secs(1),
///     period: None,
///     dropped: 0,
/// };
/// assert_eq!(folded::fold(&profile), "GET /hot;worker;app::main;app::hot 10000000\n");
/// ```
pub fn fold(profile: &Profile) -> String {
    fold_names(profile, |_| ())
}

/// Folds a profile without the machinery of library, runtime and framework: for pictures.
pub(crate) fn fold_without_plumbing(profile: &Profile) -> String {
    let is_memory = profile.values.last().is_some_and(|value| value.unit == "bytes");
    fold_names(profile, if is_memory { plumbing::strip_of_memory } else { plumbing::strip })
}

/// Folds what `strip` leaves of each stack's names; the leaf's is the first.
fn fold_names(profile: &Profile, strip: impl Fn(&mut Vec<Cow<'_, str>>)) -> String {
    let mut stacks = BTreeMap::<String, i64>::new();
    for sample in &profile.samples {
        let mut names = sample.stack.iter().flat_map(|location| names(location)).collect();
        strip(&mut names);
        *stacks.entry(stack(sample, &names)).or_default() += sample.weight();
    }
    let mut text = String::new();
    for (stack, value) in stacks.into_iter().filter(|(stack, _)| !stack.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{stack} {value}");
    }
    text
}

fn stack(sample: &Sample, names: &[Cow<'_, str>]) -> String {
    let handler = sample.handler();
    let roots = [handler.as_deref(), sample.label("thread").map(pool)];
    let names = names.iter().rev().map(AsRef::as_ref);
    let names: Vec<_> = roots.into_iter().flatten().chain(names).map(plain).collect();
    names.join(";")
}

/// Folds two profiles so that their stacks can be compared. Where one of them knows no handlers, as
/// those of `perf` and folded text of earlier versions, the other's are left out, too.
pub(crate) fn fold_pair_without_plumbing(before: &Profile, after: &Profile) -> [String; 2] {
    let folded = [before, after].map(fold_without_plumbing);
    let [first, second] = folded.each_ref().map(|text| text.lines().any(begins_with_handler));
    if first == second { folded } else { folded.map(|text| without_handlers(&text)) }
}

/// Whether the first frame of a folded stack is a handler: a method, a space and a route.
fn begins_with_handler(stack: &str) -> bool {
    let Some((root, _)) = stack.split_once(';') else { return false };
    let Some((method, route)) = root.split_once(' ') else { return false };
    let is_method = |byte: u8| byte.is_ascii_uppercase() || b"*_-".contains(&byte);
    !route.is_empty() && !method.is_empty() && method.bytes().all(is_method)
}

fn without_handlers(folded: &str) -> String {
    let stack = |line| {
        let rest = line_without_root(line).filter(|_| begins_with_handler(line));
        rest.unwrap_or(line)
    };
    folded.lines().flat_map(|line| [stack(line), "\n"]).collect()
}

fn line_without_root(line: &str) -> Option<&str> {
    line.split_once(';').map(|(_root, rest)| rest)
}

/// Names of the frames at a location, the innermost first; the file's name where no frame has one.
fn names(location: &Location) -> impl Iterator<Item = Cow<'_, str>> {
    let unnamed = location.frames.is_empty().then(|| Cow::Owned(unnamed(location)));
    let named = location.frames.iter().map(|frame| Cow::Borrowed(frame.name.as_str()));
    named.chain(unnamed)
}

/// Name for a location that has none: that of its file in brackets, `[unknown]` if it has none.
pub fn unnamed(location: &Location) -> String {
    let file = location.mapping.as_ref().and_then(|mapping| Path::new(&mapping.file).file_name());
    // `[vdso]` has its brackets already.
    let file = file.map(|file| file.to_string_lossy().trim_matches(['[', ']']).to_owned());
    format!("[{}]", file.as_deref().unwrap_or("unknown"))
}

/// The name of the pool that a thread belongs to: the thread's without its number.
///
/// ```
/// use thermograph_profile::folded::pool;
///
/// assert_eq!(pool("engine-cpu-1"), "engine-cpu");
/// ```
pub fn pool(thread: &str) -> &str {
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

    use super::{
        super::profile::{Frame, Mapping},
        *,
    };

    fn profile(samples: Vec<Sample>) -> Profile {
        Profile {
            values: Vec::new(),
            samples,
            start: SystemTime::now(),
            duration: Duration::ZERO,
            period: None,
            dropped: 0,
        }
    }

    fn named(name: &str) -> Arc<Location> {
        Arc::new(Location::named(Frame::named(name)))
    }

    #[test]
    fn equal_stacks_of_a_pool_are_one_line() {
        let sample = |thread: &str| Sample {
            stack: vec![named("<[u8; 4]>::leaf"), named("root")],
            values: vec![1, 10],
            labels: vec![("thread", thread.to_owned())],
        };
        let profile = profile(vec![sample("engine-cpu-0"), sample("engine-cpu-1")]);
        assert_eq!(fold(&profile), "engine-cpu;root;<[u8: 4]>::leaf 20\n");
    }

    fn labelled(labels: &[(&'static str, &str)]) -> Sample {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let stack = vec![named("app::hot"), named("app::main")];
        Sample { stack, values: vec![1], labels: labels.collect() }
    }

    #[test]
    fn handler_is_the_first_frame_and_its_pool_of_threads_the_second() {
        let thread = ("thread", "tokio-rt-worker-1");
        let profile = profile(vec![
            labelled(&[thread, ("route", "/hot"), ("method", "GET")]),
            labelled(&[thread, ("route", "/hot"), ("method", "POST")]),
            labelled(&[thread, ("route", "src/main.rs:7"), ("method", "TASK")]),
            labelled(&[thread]),
            labelled(&[("route", "/a;b")]),
        ]);
        let expected = "/a:b;app::main;app::hot 1\n\
                        GET /hot;tokio-rt-worker;app::main;app::hot 1\n\
                        POST /hot;tokio-rt-worker;app::main;app::hot 1\n\
                        TASK src/main.rs:7;tokio-rt-worker;app::main;app::hot 1\n\
                        tokio-rt-worker;app::main;app::hot 1\n";
        assert_eq!(fold(&profile), expected);
        assert_eq!(fold_without_plumbing(&profile), expected);
    }

    #[test]
    fn profile_without_handlers_is_compared_by_threads() {
        let worker = ("thread", "worker-1");
        let after = profile(vec![labelled(&[worker, ("route", "/hot"), ("method", "GET")])]);
        let old = "worker;app::main;app::hot 1\n".to_owned();
        let mut before = profile(vec![labelled(&[])]);
        before.samples[0].stack.push(named("worker"));
        assert_eq!(fold_pair_without_plumbing(&before, &after), [old.clone(), old.clone()]);
        assert_eq!(fold_pair_without_plumbing(&after, &before), [old.clone(), old.clone()]);
        // Folded text of this version is read back with its handlers.
        before.samples[0].stack.push(named("GET /hot"));
        let new = format!("GET /hot;{old}");
        assert_eq!(fold_pair_without_plumbing(&before, &after), [new.clone(), new.clone()]);
        // So do profiles whose source does not know the handler.
        let perf = profile(vec![labelled(&[worker])]);
        assert_eq!(fold_pair_without_plumbing(&perf, &after), [old.clone(), old]);
    }

    #[test]
    fn what_has_no_name_has_that_of_its_file() {
        let at = |file: Option<&str>| {
            let mapping = file.map(|file| {
                let (file, build_id) = (file.to_owned(), String::new());
                Arc::new(Mapping { start: 0, limit: 9, offset: 0, file, build_id })
            });
            Arc::new(Location { address: 1, mapping, frames: Vec::new() })
        };
        let frames = ["inlined", "caller"].map(|name| Arc::new(Frame::named(name)));
        let caller = Location { address: 2, mapping: None, frames: frames.into() };
        let files = [Some("[vdso]"), Some("/lib/libc.so.6"), None, Some("")];
        let mut stack: Vec<_> = files.map(at).into();
        stack.push(Arc::new(caller));
        let profile = profile(vec![Sample { stack, values: vec![1], labels: Vec::new() }]);
        assert_eq!(fold(&profile), "caller;inlined;[unknown];[unknown];[libc.so.6];[vdso] 1\n");
    }

    #[test]
    fn without_plumbing_stacks_that_differ_by_it_are_one_line() {
        let sample = |by: &str| Sample {
            stack: vec![named("app::hot"), named(by), named("app::main")],
            values: vec![1],
            labels: Vec::new(),
        };
        let profile = profile(vec![sample("tokio::poll"), sample("axum::call")]);
        assert_eq!(fold_without_plumbing(&profile), "app::main;app::hot 2\n");
        assert_eq!(fold(&profile).lines().count(), 2);
    }
}
