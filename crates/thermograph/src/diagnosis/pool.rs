//! Blocking pools that were exhausted: how long work waited, what keeps the threads, and which tasks
//! wait.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use serde::{Deserialize, Serialize};
use thermograph_profile::{Frame, Location, Sample, folded};

use super::{Finding, Profile, evidence::StackFrame, text::place};
use crate::{
    handlers::{millis as in_millis, table::lasted},
    html_escape::escape,
    pool::{Place, Role, Window, handed, keeper},
};

/// A blocking pool that was exhausted: at its limit, no thread idle, and work queued.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExhaustedPool {
    /// Tokio's number of the runtime.
    pub runtime: String,
    /// Name of its threads; `None` if it is not known.
    pub thread_name: Option<String>,
    /// True if it is exhausted now.
    pub lasts: bool,
    /// Milliseconds of the window for which it was exhausted.
    pub exhausted_ms: f64,
    /// Threads, all of them busy, without the runtime's workers; the limit, as far as was seen.
    pub threads: usize,
    /// Most pieces of work in the queue; `None` if that is not known.
    pub queued: Option<usize>,
    /// Longest time that a probe waited in the queue, or has waited so far, in milliseconds.
    pub longest_wait_ms: f64,
    /// Mean of the probes that have left the queue; `None` if none has.
    pub mean_wait_ms: Option<f64>,
    /// The probes that it is the mean of.
    pub probes: u64,
    /// That it is, or was, exhausted, in a few words.
    pub title: String,
    /// Duration, queue and waits, in a sentence.
    pub summary: String,
    /// The functions that keep its threads busy, the one with the most threads first.
    pub places: Vec<PoolPlace>,
    /// Tasks that await blocking work, as far as they could be asked; of all runtimes.
    pub waiting: Vec<PoolWaiter>,
    /// Figures that are unknown, each with the reason.
    pub unknown: Vec<String>,
    /// A remedy.
    pub r#try: String,
}

/// A function that keeps threads of a blocking pool.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PoolPlace {
    /// The function.
    pub at: StackFrame,
    /// The function that was handed to the pool; `None` if it is the same, or none of the app's own.
    pub from: Option<StackFrame>,
    /// Threads that it keeps on average, while the pool was exhausted.
    pub threads: f64,
    /// The system call that they wait in; `None` if they compute.
    pub syscall: Option<String>,
    /// The handlers whose work it is, where the work is labelled.
    pub handlers: Vec<String>,
    /// The stack of one of these threads, the leaf first.
    pub stack: Vec<StackFrame>,
}

/// Tasks that await blocking work, whether it runs or is queued.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PoolWaiter {
    /// Method of the handler; `TASK` for work that is no request.
    pub method: String,
    /// Matched path; where it was spawned, for work that is no request.
    pub route: String,
    /// Number of tasks.
    pub tasks: usize,
    /// The awaited work, and the place of the await.
    pub waits_for: String,
}

/// The tasks that await blocking work.
#[derive(Clone, Debug)]
pub(crate) enum Waiters {
    Known(Vec<PoolWaiter>),
    /// The reason why they are not known.
    Unknown(&'static str),
}

/// Share of the window from which a pool that is exhausted is told.
const EXHAUSTED: f64 = 0.01;
/// Milliseconds that a probe waits from which it is told however short it was.
const WAITED: f64 = 100.0;
/// Functions that are told of one pool.
const PLACES: usize = 5;
/// Threads below which a function is left out.
const FEW: f64 = 0.05;

const REMEDY: &str = "bound what is handed to spawn_blocking at a time (tokio::sync::Semaphore), give \
                      work that computes threads of its own (rayon), or raise max_blocking_threads \
                      where the work only waits";

/// Pools that were exhausted for long enough, the longest time first.
pub(super) fn of(
    found: Vec<Window>,
    seconds: f64,
    cpu: Option<&Profile>,
    waiters: &Waiters,
) -> Vec<ExhaustedPool> {
    let pools = found.into_iter().map(|window| ExhaustedPool::of(&window, seconds, cpu, waiters));
    let mut pools: Vec<_> = pools
        .filter(|pool| {
            pool.exhausted_ms >= EXHAUSTED * seconds * 1e3 || pool.longest_wait_ms >= WAITED
        })
        .collect();
    pools.sort_by(|a, b| b.exhausted_ms.total_cmp(&a.exhausted_ms));
    pools
}

impl ExhaustedPool {
    fn of(window: &Window, seconds: f64, cpu: Option<&Profile>, waiters: &Waiters) -> Self {
        let Window { waits, threads, .. } = window;
        let (places, mut unknown) = places(window, cpu);
        let waiting = match waiters {
            Waiters::Known(waiting) => waiting.clone(),
            Waiters::Unknown(why) => {
                unknown.push(format!("which handlers wait for it is not known: {why}"));
                Vec::new()
            }
        };
        if window.queued.is_none() {
            unknown.push(
                "how much work is queued is not known: Tokio tells it with --cfg tokio_unstable \
                 only. The threads were counted by their stacks"
                    .to_owned(),
            );
        }
        if window.shares_name {
            unknown.push(
                "threads of another runtime have the same name, and may be among those shown: \
                 runtime::Builder::thread_name tells them apart"
                    .to_owned(),
            );
        }
        let mean = (waits.count > 0).then(|| in_millis(waits.sum) / waits.count as f64);
        let mut pool = Self {
            runtime: window.runtime.clone(),
            thread_name: window.name.clone(),
            lasts: window.is_exhausted,
            exhausted_ms: in_millis(window.exhausted),
            threads: *threads,
            queued: window.queued,
            longest_wait_ms: in_millis(waits.longest_so_far()),
            mean_wait_ms: mean,
            probes: waits.count,
            title: String::new(),
            summary: String::new(),
            places,
            waiting,
            unknown,
            r#try: REMEDY.to_owned(),
        };
        pool.title = pool.heading();
        pool.summary = pool.sentence(seconds);
        pool
    }

    fn sentence(&self, seconds: f64) -> String {
        let Self { threads, queued, longest_wait_ms, .. } = self;
        let queued = queued.map_or_else(
            || "work waited for one".to_owned(),
            |queued| format!("up to {queued} pieces of work waited for one"),
        );
        let mean = self.mean_wait_ms.map_or_else(String::new, |mean| {
            let probes = if self.probes == 1 { "probe" } else { "probes" };
            format!(", {} on average of {} {probes}", lasted(mean), self.probes)
        });
        format!(
            "all of its {threads} threads were busy for {} of {seconds:.0} s while {queued}, for {} \
             at most{mean}",
            lasted(self.exhausted_ms),
            lasted(*longest_wait_ms)
        )
    }

    fn heading(&self) -> String {
        let threads = match &self.thread_name {
            Some(name) => format!("threads `{name}`"),
            None => format!("runtime {}", self.runtime),
        };
        let is = if self.lasts { "is" } else { "was" };
        format!("the blocking pool of {threads} {is} exhausted")
    }

    /// A line for each function, each group of waiting tasks, and each thing that is not known.
    fn lines(&self) -> Vec<String> {
        let places = self.places.iter().map(|place| place.line(self.threads));
        let waiting = self.waiting.iter().map(|PoolWaiter { method, route, tasks, waits_for }| {
            let await_it = if *tasks == 1 { "task awaits" } else { "tasks await" };
            format!("{tasks} {await_it} work that runs or is queued: {method} {route}, {waits_for}")
        });
        places.chain(waiting).chain(self.unknown.iter().cloned()).collect()
    }
}

impl PoolPlace {
    fn line(&self, all: usize) -> String {
        let Self { at, from, threads, syscall, handlers, .. } = self;
        let from = from.as_ref().map_or_else(String::new, |from| format!(", from {}", place(from)));
        let is_whole = (threads - threads.round()).abs() < FEW;
        let threads = if is_whole { format!("{threads:.0}") } else { format!("{threads:.1}") };
        let does = syscall.as_ref().map_or(", computing".to_owned(), |call| format!(", in {call}"));
        let handlers = if handlers.is_empty() {
            String::new()
        } else {
            format!(", for {}", handlers.join(", "))
        };
        format!("{threads} of {all} threads in {}{does}{from}{handlers}", place(at))
    }
}

/// The functions that keep the threads busy, and figures that are unknown.
fn places(window: &Window, cpu: Option<&Profile>) -> (Vec<PoolPlace>, Vec<String>) {
    let mut groups = BTreeMap::<(String, Option<&str>), PoolPlace>::new();
    let mut unknown = Vec::new();
    for (place, seen, stack) in named(window) {
        let frames = frames(&stack);
        let Some(at) = keeper(&frames).filter(|_| Role::of(&frames) == Role::Busy) else {
            continue;
        };
        let threads = seen as f64 / window.samples.max(1) as f64;
        let group = groups.entry((at.name.clone(), place.syscall));
        let group = group.or_insert_with(|| PoolPlace {
            syscall: place.syscall.map(str::to_owned),
            ..PoolPlace::new(at, &frames)
        });
        group.threads += threads;
        if let Some((method, route)) = &place.handler {
            group.works_for(method, route);
        }
    }
    let mut places: Vec<_> = groups.into_values().collect();
    let known: f64 = places.iter().map(|place| place.threads).sum();
    let rest = window.threads as f64 - known;
    if window.samples == 0 {
        unknown.push(
            "what its threads do is not known: their stacks were not taken (on Linux, on x86-64 or \
             ARM64, with diagnostics.stacks = \"signal\")"
                .to_owned(),
        );
    } else if rest >= 0.5 {
        let computing = cpu.map(|cpu| computing(cpu, window.name.as_deref(), rest));
        match computing.filter(|computing| !computing.is_empty()) {
            Some(computing) => places.extend(computing),
            None => unknown.push(format!(
                "{rest:.1} of {} threads were running when they were looked at, or without a \
                 readable stack: a capture of CPU time (seconds=10) shows where they compute",
                window.threads
            )),
        }
    }
    places.retain(|place| place.threads >= FEW);
    places.sort_by(|a, b| b.threads.total_cmp(&a.threads));
    places.truncate(PLACES);
    (places, unknown)
}

impl PoolPlace {
    fn new(at: &Frame, frames: &[&Frame]) -> Self {
        Self {
            at: StackFrame::of(at),
            from: handed(frames).filter(|from| from.name != at.name).map(StackFrame::of),
            threads: 0.0,
            syscall: None,
            handlers: Vec::new(),
            stack: frames.iter().map(|frame| StackFrame::of(frame)).collect(),
        }
    }

    fn works_for(&mut self, method: &str, route: &str) {
        let handler = format!("{method} {route}");
        if !self.handlers.contains(&handler) {
            self.handlers.push(handler);
        }
    }
}

/// The functions that `threads` threads of a pool compute in, by samples of CPU time.
fn computing(cpu: &Profile, name: Option<&str>, threads: f64) -> Vec<PoolPlace> {
    let mut groups = BTreeMap::<&str, PoolPlace>::new();
    let mut whole = 0.0;
    let is_its = |sample: &&Sample| {
        let thread = sample.label("thread").map(folded::pool);
        name.is_none_or(|name| thread == Some(folded::pool(name)))
    };
    for sample in cpu.samples.iter().filter(is_its) {
        let frames: Vec<_> = sample.frames().map(|frame| &**frame).collect();
        let Some(at) = keeper(&frames).filter(|_| Role::of(&frames) == Role::Busy) else {
            continue;
        };
        whole += sample.weight() as f64;
        let group = groups.entry(&at.name).or_insert_with(|| PoolPlace::new(at, &frames));
        group.threads += sample.weight() as f64;
        if let (Some(method), Some(route)) = (sample.label("method"), sample.label("route")) {
            group.works_for(method, route);
        }
    }
    let mut places: Vec<_> = groups.into_values().collect();
    for place in &mut places {
        place.threads *= threads / whole;
    }
    places
}

/// The places with the names of their stacks.
#[cfg(sampler)]
fn named(window: &Window) -> Vec<(&Place, usize, Vec<Arc<Location>>)> {
    let stacks = window.places.iter().map(|(place, _)| &place.stack);
    let named = thermograph_sampler::name_all(stacks);
    let places = window.places.iter().zip(named);
    places.map(|((place, seen), stack)| (&**place, *seen, stack)).collect()
}

/// Stacks are not taken on this system.
#[cfg(not(sampler))]
fn named(_: &Window) -> Vec<(&Place, usize, Vec<Arc<Location>>)> {
    Vec::new()
}

fn frames(stack: &[Arc<Location>]) -> Vec<&Frame> {
    stack.iter().flat_map(|location| &location.frames).map(|frame| &**frame).collect()
}

/// Renders pools as paragraphs for a terminal; empty if none was exhausted.
pub(super) fn text(pools: &[ExhaustedPool], paint: &dyn Fn(Finding, &str) -> String) -> String {
    let mut text = String::new();
    for pool in pools {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{}: {}", paint(Finding::Hot, &pool.title), pool.summary);
        for line in pool.lines() {
            let _ = writeln!(text, "        {line}");
        }
        let _ = writeln!(text, "        try {}", pool.r#try);
    }
    text
}

/// Renders pools as articles of a page; empty if none was exhausted.
pub(super) fn html(pools: &[ExhaustedPool]) -> String {
    let article = |pool: &ExhaustedPool| {
        let lines = pool.lines();
        let lines: Vec<_> = lines.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
        format!(
            "<article class=hot><h2>{}</h2><p>{}</p><ul>{}</ul><p>Try {}</p></article>",
            escape(&pool.title),
            escape(&pool.summary),
            lines.concat(),
            escape(&pool.r#try)
        )
    };
    pools.iter().map(article).collect()
}

#[cfg(test)]
mod tests;
