//! The diagnosis: which handler is ill, why, where in the code, and what to try.
//!
//! It joins what the ledger counted, the stalls and, where one was taken, a profile of CPU time over
//! the same window, and judges each handler:
//!
//! - `blocking`: it held a worker of the runtime past the threshold, by computing or by waiting in a
//!   system call, and not just once in a long while: for a thousandth of the window, or with one
//!   request in a hundred. Stalls that are the machine's fault do not count.
//! - `hot`: it does not block, and takes a fifth of a processor or more, and a fifth of all that
//!   handlers take.
//! - `healthy`: neither.
//!
//! Blocking handlers are ranked by the time that they took from others: of workers by their stalls,
//! of waiting tasks by their harm. The rules for causes stand in one table, `causes`.
//!
//! A poll that is long inside of `tokio::task::block_in_place` has handed its worker over: it is
//! counted apart, and makes no verdict.
//!
//! It does not look at what a handler waits for with `.await`: that is latency, and blocks nobody.

mod causes;
mod evidence;
mod html;
mod in_place;
mod text;
mod victims;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use self::evidence::Evidence;
pub use self::{
    evidence::StackFrame,
    victims::{Culprit, Victim},
};
use super::{
    Class, Profile,
    watch::{HandlerRow, LedgerReport, StallCounts},
};

/// Verdicts over one window, the worst first.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Diagnosis {
    /// Seconds that it covers.
    pub seconds: f64,
    /// Whether CPU time was captured over the window, so that hot handlers have stacks.
    pub fresh: bool,
    /// One for each handler.
    pub verdicts: Vec<Verdict>,
    /// Handlers whose requests waited while a stall held a worker, the one delayed most first.
    #[serde(default)]
    pub victims: Vec<Victim>,
    /// What else to know: what is missing, and what is nobody's fault.
    pub notes: Vec<String>,
}

/// What is said of one handler.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Verdict {
    /// The judgement.
    pub verdict: Finding,
    /// Method; `TASK` for work that is no request.
    pub method: String,
    /// Matched path; where it was spawned, for work that is no request.
    pub route: String,
    /// Why, in a sentence.
    pub summary: String,
    /// What it is judged by.
    pub numbers: Numbers,
    /// What it does where it is ill, the one that takes the most time first.
    pub causes: Vec<Cause>,
}

/// A judgement, from bad to good.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// It keeps workers of the runtime to itself.
    Blocking,
    /// It takes much of the processors, in short polls or elsewhere.
    Hot,
    /// It takes little.
    Healthy,
}

/// What a handler is judged by.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Numbers {
    /// Requests answered.
    pub requests: u64,
    /// Milliseconds in polls.
    pub busy_ms: f64,
    /// Workers kept busy on average.
    pub worker_share: f64,
    /// Milliseconds of the longest poll.
    pub longest_ms: f64,
    /// Polls over the threshold.
    pub stalls: StallCounts,
    /// Milliseconds of stalls that are not the machine's fault.
    pub stalled_ms: f64,
    /// Milliseconds that others waited for a worker that a stall of this handler held; none where
    /// it is not known.
    pub harm_ms: Option<f64>,
    /// Of the time in polls, the share on a processor; none where it is not known.
    pub cpu_share: Option<f64>,
    /// Of the time in polls, the share in system calls that wait; none where it is not known.
    pub blocked_share: Option<f64>,
    /// Milliseconds of CPU time on any thread, polls or not; none where no CPU time was captured.
    pub cpu_ms: Option<f64>,
}

/// One thing that a handler does.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Cause {
    /// What, in a few words.
    pub what: String,
    /// Share of the handler's time in stalls, or of its CPU time, 0 to 1.
    pub share: f64,
    /// Class of the stalls; none for CPU time in polls that are short.
    pub class: Option<Class>,
    /// The system call that it waits in.
    pub syscall: Option<String>,
    /// Where in the code: the first function of the app's own, or else of a library that works for
    /// it.
    pub at: Option<StackFrame>,
    /// What to try.
    pub r#try: String,
    /// Why there is no stack, or none of some stalls; `None` if each has one.
    #[serde(default)]
    pub no_stack: Option<String>,
    /// The functions that the thread stood in itself, the one with the most time first.
    pub leaves: Vec<Leaf>,
    /// The stack that shows it, the leaf first.
    pub stack: Vec<StackFrame>,
}

/// A function that threads stood in themselves.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Leaf {
    /// Demangled name, without the hash; of functions that are inlined, the innermost of the app's
    /// own.
    pub function: String,
    /// Share of the cause's time, 0 to 1.
    pub share: f64,
}

/// What is judged.
#[derive(Debug)]
pub(crate) struct Exhibits<'a> {
    /// What the ledger counted in the window.
    pub(crate) ledger: &'a LedgerReport,
    /// Stalls of the window.
    pub(crate) stalls: &'a Profile,
    /// CPU time of the window, where it was captured.
    pub(crate) cpu: Option<&'a Profile>,
}

/// Share of the window that stalls take, from which a handler is blocking.
const STALLED: f64 = 0.001;
/// Share of a handler's requests that stall, from which it is blocking.
const STALLING: f64 = 0.01;
/// Processors or workers that a handler takes, from which it is hot; also of what all handlers take.
const HOT: f64 = 0.2;
/// Causes that are told of one handler.
const CAUSES: usize = 3;

impl Diagnosis {
    pub(crate) fn of(exhibits: &Exhibits<'_>) -> Self {
        let seconds = exhibits.ledger.seconds;
        let all_cpu: f64 = exhibits.cpu.map_or(0.0, |cpu| evidence::of_handlers(cpu).millis());
        let rows = in_place::apart(&exhibits.ledger.handlers, exhibits.stalls);
        let judge = |row: &HandlerRow| Judge { row, seconds, all_cpu }.judge(exhibits);
        let mut verdicts: Vec<_> = rows.iter().map(judge).collect();
        verdicts.sort_by(|a, b| a.rank().cmp(&b.rank()).then(b.weight().total_cmp(&a.weight())));
        let mut notes = notes(exhibits, &verdicts);
        notes.extend(victims::note(exhibits.ledger, &verdicts));
        let victims = victims::of(exhibits.ledger);
        Self { seconds, fresh: exhibits.cpu.is_some(), verdicts, victims, notes }
    }

    /// The worst that was found; healthy where there is no handler.
    pub fn worst(&self) -> Finding {
        self.verdicts.first().map_or(Finding::Healthy, |verdict| verdict.verdict)
    }

    /// As text for a terminal; `paint` may colour a word by the verdict that it belongs to.
    pub fn text(&self, paint: impl Fn(Finding, &str) -> String) -> String {
        text::write(self, &paint)
    }

    /// As a page of its own.
    pub(crate) fn html(&self) -> String {
        html::write(self)
    }
}

/// Judges one handler.
struct Judge<'a> {
    row: &'a HandlerRow,
    seconds: f64,
    /// Milliseconds of CPU time of all handlers.
    all_cpu: f64,
}

impl Judge<'_> {
    fn judge(&self, exhibits: &Exhibits<'_>) -> Verdict {
        let HandlerRow { method, route, .. } = self.row;
        let stalled = Evidence::of(exhibits.stalls, method, route);
        let stalled = stalled.without_preempted().without_in_place();
        let cpu = exhibits.cpu.map(|cpu| Evidence::of(cpu, method, route));
        let cpu_ms = cpu.as_ref().map(Evidence::millis);
        let verdict = self.verdict(cpu_ms);
        let causes = match (verdict, cpu) {
            (Finding::Blocking, _) => stalled.causes(CAUSES),
            (Finding::Hot, Some(cpu)) => cpu.causes(CAUSES),
            (Finding::Hot, None) | (Finding::Healthy, _) => Vec::new(),
        };
        Verdict {
            verdict,
            method: method.clone(),
            route: route.clone(),
            summary: text::summary(self.row, verdict, cpu_ms.map(|ms| (ms, self.all_cpu)), &causes),
            numbers: Numbers::of(self.row, cpu_ms),
            causes,
        }
    }

    fn verdict(&self, cpu_ms: Option<f64>) -> Finding {
        let HandlerRow { requests, stalls, stalled_ms, worker_share, busy_share, .. } = self.row;
        let window_ms = self.seconds * 1e3;
        let is_often = stalls.own() as f64 >= STALLING * *requests as f64;
        if stalls.own() > 0 && (is_often || *stalled_ms >= STALLED * window_ms) {
            return Finding::Blocking;
        }
        let (taken, share) = match cpu_ms {
            Some(cpu) => (cpu / window_ms, cpu / self.all_cpu.max(f64::MIN_POSITIVE)),
            None => (*worker_share, *busy_share),
        };
        if taken >= HOT && share >= HOT { Finding::Hot } else { Finding::Healthy }
    }
}

impl Verdict {
    /// Whether there is something to mend or to look at.
    pub fn is_healthy(&self) -> bool {
        self.verdict == Finding::Healthy
    }

    fn rank(&self) -> Finding {
        self.verdict
    }

    /// Of two handlers with the same judgement, the one that weighs more is the worse.
    fn weight(&self) -> f64 {
        let Numbers { stalled_ms, harm_ms, cpu_ms, busy_ms, .. } = &self.numbers;
        match self.verdict {
            Finding::Blocking => stalled_ms + harm_ms.unwrap_or(0.0),
            Finding::Hot | Finding::Healthy => cpu_ms.unwrap_or(*busy_ms),
        }
    }
}

impl Numbers {
    fn of(row: &HandlerRow, cpu_ms: Option<f64>) -> Self {
        Self {
            requests: row.requests,
            busy_ms: row.busy_ms,
            worker_share: row.worker_share,
            longest_ms: row.poll_ms.max,
            stalls: row.stalls,
            stalled_ms: row.stalled_ms,
            harm_ms: row.harm_ms,
            cpu_share: row.cpu_share,
            blocked_share: row.blocked_share,
            cpu_ms,
        }
    }
}

/// What is to be known beside the verdicts.
fn notes(exhibits: &Exhibits<'_>, verdicts: &[Verdict]) -> Vec<String> {
    let mut notes = Vec::new();
    let preempted: u64 = verdicts.iter().map(|verdict| verdict.numbers.stalls.preempted).sum();
    if preempted > 0 {
        notes.push(format!(
            "{preempted} polls were long only because the machine did not run their thread: it has \
             more to do than processors, or the container less of them than it needs"
        ));
    }
    notes.extend(in_place::note(verdicts));
    notes.extend(exhibits.cpu.and_then(evidence::elsewhere));
    let is_missing = |finding| verdicts.iter().any(|verdict| verdict.verdict == finding);
    if exhibits.cpu.is_none() && is_missing(Finding::Hot) {
        notes.push(
            "no CPU time was captured, so that hot handlers have no stack: ask with seconds=10"
                .to_owned(),
        );
    }
    notes
}

impl Finding {
    /// Every judgement, from bad to good.
    pub const ALL: [Self; 3] = [Self::Blocking, Self::Hot, Self::Healthy];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Hot => "hot",
            Self::Healthy => "healthy",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Finding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|finding| finding.name() == text);
        found.ok_or_else(|| format!("`{text}` is not allowed: blocking, hot, healthy"))
    }
}

#[cfg(test)]
mod tests;
