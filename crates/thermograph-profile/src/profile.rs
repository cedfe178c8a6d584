//! The profile: stacks with values and labels.
//!
//! Everything that captures makes one of these, and pprof, folded text and flame graphs are made
//! from it and nothing else.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Stacks that were captured over a window.
///
/// ```
/// use std::{sync::Arc, time::{Duration, SystemTime}};
///
/// use thermograph_profile::{Frame, Location, Profile, Sample, ValueType};
///
/// let sample = |route: &str, value| Sample {
///     stack: vec![Arc::new(Location::named(Frame::named("app::hot")))],
///     values: vec![1, value],
///     labels: vec![("route", route.to_owned())],
/// };
/// let cpu = ValueType { kind: "cpu", unit: "nanoseconds" };
/// let mut profile = Profile {
///     values: vec![ValueType { kind: "samples", unit: "count" }, cpu],
///     samples: vec![sample("/a", 10_000_000), sample("/b", 30_000_000)],
///     start: SystemTime::now(),
///     duration: Duration::from_secs(1),
///     period: Some((cpu, 10_000_000)),
///     dropped: 0,
/// };
/// assert_eq!(profile.count(), (2, "samples"));
/// profile.keep("route", "/b");
/// assert_eq!(profile.samples[0].weight(), 30_000_000);
/// ```
#[derive(Clone, Debug)]
pub struct Profile {
    /// Kinds and units of the values of each sample, in their order; the last is the one shown.
    pub values: Vec<ValueType>,
    /// Stacks, with their values and labels.
    pub samples: Vec<Sample>,
    /// When the window began.
    pub start: SystemTime,
    /// Length of the window.
    pub duration: Duration,
    /// Interval between two samples, in the unit of its type; `None` if nothing was sampled at one.
    pub period: Option<(ValueType, i64)>,
    /// Samples that were taken but could not be kept.
    pub dropped: u64,
}

/// A kind of value and its unit, such as `cpu` in `nanoseconds`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ValueType {
    /// The measured quantity, such as `cpu`, in pprof's words.
    pub kind: &'static str,
    /// Its unit, in pprof's words.
    pub unit: &'static str,
}

/// One stack, how much it weighs, and where it was.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Sample {
    /// Where the code stood, the leaf first.
    pub stack: Vec<Arc<Location>>,
    /// One value for each of the profile's [`values`](Profile::values).
    pub values: Vec<i64>,
    /// Names and values, such as `thread` and the thread's name.
    pub labels: Vec<(&'static str, String)>,
}

/// An address in the code and what stands there.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Location {
    /// Address in the process's memory; 0 if it is not known.
    pub address: u64,
    /// The file that the address is in; `None` if it is not known.
    pub mapping: Option<Arc<Mapping>>,
    /// The function and those inlined into it, the innermost first; empty where nothing has a name.
    pub frames: Vec<Arc<Frame>>,
}

/// A file that is mapped as code.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Mapping {
    /// First address, in the process's memory.
    pub start: u64,
    /// First address past it.
    pub limit: u64,
    /// Where in the file the first address is.
    pub offset: u64,
    /// Path of the file, or a name such as `[vdso]`.
    pub file: String,
    /// Build ID in hexadecimal, empty if there is none.
    pub build_id: String,
}

/// A function and a place in it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Frame {
    /// Demangled name, without the hash.
    pub name: String,
    /// Name as the linker has it.
    pub linkage: String,
    /// Source file, empty where it is not known.
    pub file: String,
    /// Line in the file, 0 where it is not known.
    pub line: u32,
}

impl Profile {
    /// Keeps the samples whose label has this value, such as those of one `route`.
    pub fn keep(&mut self, label: &str, value: &str) {
        self.samples.retain(|sample| sample.label(label) == Some(value));
    }

    /// The difference to an earlier profile of the same kind; values that shrank are negative.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        let mut sums = HashMap::<_, Vec<i64>>::new();
        for (samples, sign) in [(&self.samples, 1), (&earlier.samples, -1)] {
            for Sample { stack, values, labels } in samples {
                let sum = sums.entry((stack.clone(), labels.clone()));
                let sum = sum.or_insert_with(|| vec![0; values.len()]);
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += sign * value);
            }
        }
        sums.retain(|_, values| values.iter().any(|value| *value != 0));
        let sample = |((stack, labels), values)| Sample { stack, values, labels };
        self.samples = sums.into_iter().map(sample).collect();
        self.duration = self.start.duration_since(earlier.start).unwrap_or_default();
        self.start = earlier.start;
        self
    }

    /// Returns whether nothing was captured: no stack has a weight.
    pub fn is_empty(&self) -> bool {
        !self.samples.iter().any(|sample| !sample.stack.is_empty() && sample.weight() > 0)
    }

    /// Number of captured events and their name in the plural: `samples`, `stalls`, or `stacks` if it
    /// is not counted how often each was seen.
    pub fn count(&self) -> (u64, &'static str) {
        match self.values.first() {
            Some(ValueType { kind, unit: "count" }) => {
                let values = self.samples.iter().filter_map(|sample| sample.values.first());
                let count = values.fold(0, |sum: i64, value| sum.saturating_add(*value));
                let name = if *kind == "contentions" { "stalls" } else { kind };
                (count.try_into().unwrap_or(0), name)
            }
            _ => (self.samples.len() as u64, "stacks"),
        }
    }

    /// The handler of a route as people know it: with its method, where all samples of the route
    /// have the same.
    pub fn handler(&self, route: &str) -> String {
        let of_route = self.samples.iter().filter(|sample| sample.label("route") == Some(route));
        let mut methods = of_route.filter_map(|sample| sample.label("method"));
        match methods.next() {
            Some(first) if methods.all(|method| method == first) => format!("{first} {route}"),
            _ => route.to_owned(),
        }
    }
}

impl Sample {
    /// The frames that have a name, the leaf first; inlined ones are frames of their own.
    pub fn frames(&self) -> impl Iterator<Item = &Arc<Frame>> {
        self.stack.iter().flat_map(|location| &location.frames)
    }

    /// The value of a label; `None` if the sample has no such label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }

    /// The handler that it worked for, as a title: method and route. `None` for work that belongs to
    /// no handler.
    pub fn handler(&self) -> Option<Cow<'_, str>> {
        let route = self.label("route")?;
        Some(match self.label("method") {
            Some(method) => Cow::Owned(format!("{method} {route}")),
            None => Cow::Borrowed(route),
        })
    }

    /// The value that is shown: the last.
    pub fn weight(&self) -> i64 {
        self.values.last().copied().unwrap_or_default()
    }
}

impl Location {
    /// A location that has a name but no address, such as a span.
    pub fn named(frame: Frame) -> Self {
        Self { address: 0, mapping: None, frames: vec![Arc::new(frame)] }
    }
}

impl Frame {
    /// A frame that has a name but no place in a source file.
    pub fn named(name: &str) -> Self {
        let (name, linkage) = (name.to_owned(), name.to_owned());
        Self { name, linkage, file: String::new(), line: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(labels: &[(&'static str, &str)]) -> Sample {
        Sample {
            stack: vec![Arc::new(Location::named(Frame::named("main")))],
            values: vec![1, 10],
            labels: labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn keeps_the_samples_of_a_label_s_value() {
        let mut profile = Profile {
            values: Vec::new(),
            samples: vec![
                sample(&[("thread", "worker-0"), ("route", "/hello")]),
                sample(&[("thread", "/hello"), ("route", "/hot")]),
                sample(&[]),
            ],
            start: SystemTime::now(),
            duration: Duration::ZERO,
            period: None,
            dropped: 0,
        };
        profile.keep("route", "/hello");
        assert_eq!(profile.samples, [sample(&[("thread", "worker-0"), ("route", "/hello")])]);
        profile.keep("thread", "worker-1");
        assert_eq!(profile.samples, []);
    }

    #[test]
    fn the_difference_of_two_profiles_has_what_grew_and_what_shrank() {
        let profile = |samples| Profile {
            values: Vec::new(),
            samples,
            start: SystemTime::now(),
            duration: Duration::ZERO,
            period: None,
            dropped: 0,
        };
        let [a, b, c] = ["a", "b", "c"].map(|route| sample(&[("route", route)]));
        let before = profile(vec![a.clone(), b.clone()]);
        let after = profile(vec![b.clone(), b.clone(), c.clone()]);
        let mut changed = after.since(&before).samples;
        changed.sort_by(|x, y| x.labels.cmp(&y.labels));
        let gone = Sample { values: vec![-1, -10], ..a };
        assert_eq!(changed, [gone, b, c]);
    }

    #[test]
    fn counts_what_was_captured_by_its_own_name() {
        let mut profile = Profile {
            values: vec![ValueType { kind: "contentions", unit: "count" }],
            samples: vec![sample(&[]), sample(&[])],
            start: SystemTime::now(),
            duration: Duration::ZERO,
            period: None,
            dropped: 0,
        };
        profile.samples[0].values = vec![3, 10];
        assert_eq!(profile.count(), (4, "stalls"));
        profile.values[0].kind = "samples";
        assert_eq!(profile.count(), (4, "samples"));
        profile.values.clear();
        assert_eq!(profile.count(), (2, "stacks"));
        assert!(!profile.is_empty());
        profile.samples.iter_mut().for_each(|sample| sample.values = vec![3, 0]);
        assert!(profile.is_empty());
    }

    #[test]
    fn a_handler_has_its_method_where_there_is_one_only() {
        let of = |methods: &[&str]| {
            let labels = |method| vec![sample(&[("method", method), ("route", "/a")])];
            let samples = methods.iter().flat_map(|method| labels(method)).collect();
            let profile = Profile {
                values: Vec::new(),
                samples,
                start: SystemTime::now(),
                duration: Duration::ZERO,
                period: None,
                dropped: 0,
            };
            profile.handler("/a")
        };
        assert_eq!(of(&["GET", "GET"]), "GET /a");
        assert_eq!(of(&["GET", "POST"]), "/a");
        assert_eq!(of(&[]), "/a");
    }

    #[test]
    fn inlined_frames_are_frames_and_what_has_no_name_is_none() {
        let frame = |name| Arc::new(Frame::named(name));
        let location = |address, frames| Arc::new(Location { address, mapping: None, frames });
        let mut sample = sample(&[]);
        sample.stack = vec![
            location(0x30, vec![frame("inlined"), frame("caller")]),
            location(0x20, Vec::new()),
            location(0x10, vec![frame("main")]),
        ];
        let names: Vec<_> = sample.frames().map(|frame| frame.name.as_str()).collect();
        assert_eq!(names, ["inlined", "caller", "main"]);
    }
}
