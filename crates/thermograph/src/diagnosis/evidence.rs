//! Samples of one handler, put together by what they show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thermograph_profile::{Frame, Profile, Sample, folded, plumbing};

use super::{
    Cause, Leaf,
    causes::{self, Rule},
    locks,
};
use crate::class::{Class, NoStack};

/// A function in a stack.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct StackFrame {
    /// Demangled name, without the hash.
    pub function: String,
    /// Source file, empty where it is not known.
    pub file: String,
    /// Line in the file, 0 where it is not known.
    pub line: u32,
    /// Whether it is the app's own code, and no library's.
    pub own: bool,
}

/// What to try where no worker is kept from anything.
const ELSEWHERE: &str = "no worker waits for it: it is on threads of its own. Less of it, or more \
                         processors";
/// Functions that are told of a cause.
const LEAVES: usize = 3;

/// Samples, and what all of them weigh.
#[derive(Clone, Debug)]
pub(super) struct Evidence<'a> {
    samples: Vec<&'a Sample>,
}

/// What samples have in common that show the same.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Kind<'a> {
    rule: &'static str,
    class: Option<&'a str>,
    syscall: Option<&'a str>,
    /// The function of its own that the app stands in.
    function: Option<&'a str>,
}

/// CPU time of requests, without that of tasks of nobody's.
pub(super) fn of_handlers(profile: &Profile) -> Evidence<'_> {
    let of_handler = |sample: &&Sample| sample.label("route").is_some();
    Evidence { samples: profile.samples.iter().filter(of_handler).collect() }
}

impl<'a> Evidence<'a> {
    pub(super) fn of(profile: &'a Profile, method: &str, route: &str) -> Self {
        let is_its = |sample: &&Sample| {
            sample.label("route") == Some(route) && sample.label("method") == Some(method)
        };
        Self { samples: profile.samples.iter().filter(is_its).collect() }
    }

    /// Stalls that are the machine's fault show nothing of the handler.
    pub(super) fn without_preempted(mut self) -> Self {
        self.samples.retain(|sample| sample.label("class") != Some(Class::Preempted.name()));
        self
    }

    /// Stalls whose worker was handed over held none.
    pub(super) fn without_in_place(mut self) -> Self {
        self.samples.retain(|sample| sample.label("in_place").is_none());
        self
    }

    /// Stalls whose worker was handed over, and no others.
    pub(super) fn in_place(mut self) -> Self {
        self.samples.retain(|sample| sample.label("in_place").is_some());
        self
    }

    /// Stalls of one class.
    pub(super) fn of_class(mut self, class: Class) -> Self {
        self.samples.retain(|sample| sample.label("class") == Some(class.name()));
        self
    }

    /// How many stalls the samples are.
    pub(super) fn count(&self) -> u64 {
        self.samples.iter().map(|sample| count(sample)).sum()
    }

    /// Why samples have no stack, and of how many; `None` if each has one.
    fn missing(&self) -> Option<String> {
        let without = self.samples.iter().filter(|sample| !has_stack(sample));
        let mut reasons = BTreeMap::<&str, u64>::new();
        for sample in without {
            let reason = sample.label("no_stack").unwrap_or_default();
            *reasons.entry(reason).or_default() += count(sample);
        }
        let (missing, all) = (reasons.values().sum::<u64>(), self.count());
        let reasons: Vec<_> = reasons.keys().filter_map(|reason| NoStack::named(reason)).collect();
        let why: Vec<_> = reasons.into_iter().map(NoStack::says).collect();
        let of = if missing == all { String::new() } else { format!(" of {missing} of {all}") };
        (missing > 0).then(|| format!("no stack was taken{of}: {}", why.join("; ")))
    }

    /// Stalls of an unknown class show less than others, if there are others.
    pub(super) fn of_known_classes(mut self) -> Self {
        let is_known = |sample: &&Sample| sample.label("class") != Some(Class::Unknown.name());
        if self.samples.iter().any(is_known) {
            self.samples.retain(is_known);
        }
        self
    }

    /// Milliseconds that the samples weigh.
    pub(super) fn millis(&self) -> f64 {
        self.weight() as f64 / 1e6
    }

    /// What the samples show, the heaviest first, at most so many.
    pub(super) fn causes(&self, most: usize) -> Vec<Cause> {
        let mut kinds = BTreeMap::<Kind<'_>, Vec<&Sample>>::new();
        for sample in &self.samples {
            kinds.entry(Kind::of(sample)).or_default().push(sample);
        }
        let mut kinds: Vec<_> = kinds.into_values().map(|samples| Evidence { samples }).collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.weight()));
        let whole = self.weight().max(1) as f64;
        kinds.iter().take(most).filter_map(|kind| kind.cause(whole)).collect()
    }

    /// What these samples, all of one kind, show.
    fn cause(&self, whole: f64) -> Option<Cause> {
        let leaves = self.leaves();
        let first = leaves.first().map(|first| first.function.as_str());
        let telling = self.samples.iter().filter(|sample| leaf(sample) == first);
        let heaviest = telling.max_by_key(|sample| sample.weight())?;
        let kind = Kind::of(heaviest);
        let rule = Rule::of(kind.class, kind.syscall, &stack(heaviest));
        let frames = frames(heaviest);
        let at = plumbing::standpoint(&frames, |frame| (&frame.name, &frame.file));
        let is_elsewhere = kind.class.is_none() && !is_polled(heaviest);
        Some(Cause {
            what: rule.what.to_owned(),
            share: self.weight() as f64 / whole,
            class: kind.class.and_then(Class::named),
            syscall: kind.syscall.map(str::to_owned),
            at: at.map(|frame| StackFrame::of(frame)),
            r#try: (if is_elsewhere { ELSEWHERE } else { rule.remedy }).to_owned(),
            leaves,
            held_by: locks::held_by(&self.samples),
            no_stack: self.missing(),
            stack: frames.iter().map(|frame| StackFrame::of(frame)).collect(),
        })
    }

    /// The functions that were stood in, the one with the most time first.
    fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = BTreeMap::<&str, i64>::new();
        for sample in &self.samples {
            if let Some(name) = leaf(sample) {
                *leaves.entry(name).or_default() += sample.weight();
            }
        }
        let mut leaves: Vec<_> = leaves.into_iter().collect();
        leaves.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        let whole = self.weight().max(1) as f64;
        let leaf = |(function, weight): (&str, i64)| Leaf {
            function: function.to_owned(),
            share: weight as f64 / whole,
        };
        leaves.into_iter().take(LEAVES).map(leaf).collect()
    }

    fn weight(&self) -> i64 {
        self.samples.iter().map(|sample| sample.weight()).sum()
    }
}

impl<'a> Kind<'a> {
    fn of(sample: &'a Sample) -> Self {
        let (class, syscall) = (sample.label("class"), sample.label("syscall"));
        let frames = frames(sample);
        let at = plumbing::standpoint(&frames, |frame| (&frame.name, &frame.file));
        let rule = Rule::of(class, syscall, &stack(sample)).what;
        // Where the app does not stand on the stack, as on a pool's threads, the rule says it all.
        let own = at.filter(|frame| StackFrame::of(frame).own);
        Self { rule, class, syscall, function: own.map(|frame| frame.name.as_str()) }
    }
}

impl StackFrame {
    pub(super) fn of(frame: &Frame) -> Self {
        let Frame { name, file, line, .. } = frame;
        let own = is_own(frame);
        Self { function: name.clone(), file: file.clone(), line: *line, own }
    }
}

/// The function that the thread stood in: of inlined ones, the innermost of the app's own.
fn leaf(sample: &Sample) -> Option<&str> {
    if !has_stack(sample) {
        return None;
    }
    // The kernel's page of code (vdso) has no names.
    let mut functions = sample.stack.iter().map(|location| plumbing::function_at(&location.frames));
    functions.find_map(|function| function).map(|frame| frame.name.as_str())
}

/// Whether what stands for its stack is one.
fn has_stack(sample: &Sample) -> bool {
    sample.label("no_stack").is_none()
}

/// The functions on its stack, the leaf first; none where no stack was taken.
fn frames(sample: &Sample) -> Vec<&Frame> {
    let frames = sample.frames().map(|frame| &**frame);
    frames.filter(|_| has_stack(sample)).collect()
}

/// How many times it was seen.
fn count(sample: &Sample) -> u64 {
    sample.values.first().map_or(0, |count| (*count).try_into().unwrap_or(0))
}

/// Whether a worker of the runtime did it, in a poll.
fn is_polled(sample: &Sample) -> bool {
    sample.frames().any(|frame| plumbing::polls(&frame.name))
}

/// The functions from the leaf down to where the handler or the task is polled: what is below
/// polls whatever there is.
fn stack(sample: &Sample) -> causes::Stack {
    let frames = frames(sample).into_iter();
    let polled = frames.take_while(|frame| !plumbing::polls(&frame.name));
    let stack = causes::Stack::new(polled.map(|frame| (frame.name.as_str(), is_own(frame))));
    stack.with_page_faults(sample.label("page_faults").is_some())
}

/// Whether a function is the app's own.
fn is_own(Frame { name, file, .. }: &Frame) -> bool {
    plumbing::is_own(name, file)
}

/// A sentence about CPU time that no handler is charged with, where it is much.
pub(super) fn elsewhere(profile: &Profile) -> Option<String> {
    /// Share of all CPU time.
    const MUCH: f64 = 0.2;
    let unnamed = |sample: &&Sample| sample.label("route").is_none();
    let whole: i64 = profile.samples.iter().map(Sample::weight).sum();
    let mut pools = BTreeMap::<&str, Vec<&Sample>>::new();
    for sample in profile.samples.iter().filter(unnamed) {
        let pool = folded::pool(sample.label("thread").unwrap_or("?"));
        pools.entry(pool).or_default().push(sample);
    }
    let mut pools: Vec<_> =
        pools.into_iter().map(|(pool, samples)| (pool, Evidence { samples })).collect();
    pools.sort_by_key(|(_, evidence)| std::cmp::Reverse(evidence.weight()));
    let share = |weight: i64| weight as f64 / whole.max(1) as f64;
    let all = share(pools.iter().map(|(_, evidence)| evidence.weight()).sum());
    let (pool, most) = pools.first()?;
    let at = most.causes(1).pop().and_then(|cause| cause.at);
    let at = at.map_or_else(String::new, |at| format!(", there most in {}", at.function));
    (all >= MUCH).then(|| {
        format!(
            "{:.0} % of the CPU time is no handler's: {:.0} % is that of threads `{pool}`{at}; \
             `label::blocking` puts a handler's name on work that it hands on",
            all * 100.0,
            share(most.weight()) * 100.0
        )
    })
}
