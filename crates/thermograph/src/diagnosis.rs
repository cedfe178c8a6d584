//! The diagnosis: which handler is ill, why, where in the code, and what to try.
//!
//! It joins what the ledger counted, the stalls and, where one was taken, a profile of CPU time over
//! the same window, and judges each handler:
//!
//! - `blocking`: it held a worker of the runtime past the threshold, by computing or by waiting in a
//!   system call, and not just once in a long while: for a thousandth of the window, or with one
//!   request in a hundred. A poll that lasts counts like one that has ended. Stalls that are the
//!   machine's fault do not count, nor those of an unknown class. Or it waited in system calls in
//!   polls below the threshold, for a twentieth of a worker's time or more.
//! - `hot`: it does not block, and takes a fifth of a worker or more without waiting, and a fifth of
//!   all that handlers take so; or, where CPU time was captured, the same of a processor.
//! - `healthy`: neither.
//!
//! Blocking handlers are ranked by the time that they took from others: of workers by their stalls,
//! of waiting tasks by their harm. The rules for causes stand in one table, `causes`.
//!
//! A poll that is long inside of `tokio::task::block_in_place` has handed its worker over: it is
//! counted apart, and makes no verdict.
//!
//! A blocking pool that is exhausted is told beside the verdicts, and makes none: no worker is held
//! by it. Requests that wait for its threads do so with `.await`.
//!
//! It does not look at what else a handler waits for with `.await`: that is latency, and blocks nobody.

mod causes;
mod evidence;
mod html;
mod in_place;
mod locks;
mod pool;
mod text;
mod victims;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use self::evidence::Evidence;
pub(crate) use self::pool::Waiters;
pub use self::{
    evidence::StackFrame,
    pool::{ExhaustedPool, PoolPlace, PoolWaiter},
    victims::{Culprit, Victim},
};
use thermograph_profile::Profile;

use crate::{
    class::Class,
    handlers::{HandlerRow, Holding, LedgerReport, StallCounts, Wait, table::millis},
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
    /// Blocking pools that were exhausted, the longest time first.
    #[serde(default)]
    pub pools: Vec<ExhaustedPool>,
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
    /// Of `stalled_ms`, milliseconds of stalls of an unknown class, which make no verdict.
    #[serde(default)]
    pub unknown_ms: f64,
    /// Workers that its stalls hold at the end of the window.
    #[serde(default)]
    pub holding: Holding,
    /// System calls that it waits in, in stalls and in shorter polls.
    #[serde(default)]
    pub waits: Vec<Wait>,
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
    /// Probable holders of the locks that it waits for, the one with the most time first.
    #[serde(default)]
    pub held_by: Vec<HeldBy>,
    /// The functions that the thread stood in itself, the one with the most time first.
    pub leaves: Vec<Leaf>,
    /// The stack that shows it, the leaf first.
    pub stack: Vec<StackFrame>,
}

/// A lock that a handler waits for, and its probable holder.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HeldBy {
    /// Type and address of the lock.
    pub lock: String,
    /// The handler that the holder's thread worked for, or its thread; `None` if no thread shows
    /// evidence of holding the lock.
    pub holder: Option<String>,
    /// Function, file and line of the holder while it held the lock.
    pub at: Option<String>,
    /// Evidence that it holds the lock; `None` without a holder.
    pub evidence: Option<String>,
    /// Share of the cause's time, 0 to 1.
    pub share: f64,
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
pub struct Exhibits<'a> {
    /// What the ledger counted in the window.
    pub ledger: &'a LedgerReport,
    /// Stalls of the window.
    pub stalls: &'a Profile,
    /// CPU time of the window, where it was captured.
    pub cpu: Option<&'a Profile>,
}

/// Share of the window that stalls take, from which a handler is blocking.
const STALLED: f64 = 0.001;
/// Share of a handler's requests that stall, from which it is blocking.
const STALLING: f64 = 0.01;
/// Workers that a handler takes by waiting in polls below the threshold, from which it is blocking.
const WAITING: f64 = 0.05;
/// Processors or workers that a handler takes, from which it is hot; also of what all handlers take.
const HOT: f64 = 0.2;
/// Causes that are told of one handler.
const CAUSES: usize = 3;

impl Diagnosis {
    /// Judges what was captured, by this process or by another.
    pub fn of(exhibits: &Exhibits<'_>) -> Self {
        let seconds = exhibits.ledger.seconds;
        let all_cpu: f64 = exhibits.cpu.map_or(0.0, |cpu| evidence::of_handlers(cpu).millis());
        let rows = in_place::apart(&exhibits.ledger.handlers, exhibits.stalls);
        let all_working = rows.iter().map(working).sum();
        let threshold_ms = exhibits.ledger.threshold_ms;
        let judge = |row: &HandlerRow| {
            Judge { row, seconds, threshold_ms, all_cpu, all_working }.judge(exhibits)
        };
        let mut verdicts: Vec<_> = rows.iter().map(judge).collect();
        verdicts.sort_by(|a, b| a.rank().cmp(&b.rank()).then(b.weight().total_cmp(&a.weight())));
        let mut notes = notes(exhibits, &verdicts);
        notes.extend(victims::note(exhibits.ledger, &verdicts));
        notes.extend(locks::deadlocks(&verdicts));
        let victims = victims::of(exhibits.ledger);
        let (fresh, pools) = (exhibits.cpu.is_some(), Vec::new());
        Self { seconds, fresh, verdicts, victims, pools, notes }
    }

    /// Adds the blocking pools that were exhausted. It looks up names, which takes time.
    pub(crate) fn add_pools(
        &mut self,
        found: Vec<super::pool::Window>,
        cpu: Option<&Profile>,
        waiters: &Waiters,
    ) {
        self.pools = pool::of(found, self.seconds, cpu, waiters);
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
    threshold_ms: f64,
    /// Milliseconds of CPU time of all handlers.
    all_cpu: f64,
    /// Workers that all handlers take without waiting.
    all_working: f64,
}

impl Judge<'_> {
    fn judge(&self, exhibits: &Exhibits<'_>) -> Verdict {
        let HandlerRow { method, route, .. } = self.row;
        let stalled = Evidence::of(exhibits.stalls, method, route);
        let stalled = stalled.without_preempted().without_in_place().of_known_classes();
        let cpu = exhibits.cpu.map(|cpu| Evidence::of(cpu, method, route));
        let cpu_ms = cpu.as_ref().map(Evidence::millis);
        let verdict = self.verdict(cpu_ms);
        let causes = match (verdict, cpu) {
            (Finding::Blocking, _) => self.causes_of_blocking(&stalled),
            (Finding::Hot, Some(cpu)) => cpu.causes(CAUSES),
            (Finding::Hot, None) | (Finding::Healthy, _) => Vec::new(),
        };
        Verdict {
            verdict,
            method: method.clone(),
            route: route.clone(),
            summary: text::summary(self, verdict, cpu_ms, &causes),
            numbers: Numbers::of(self.row, cpu_ms),
            causes,
        }
    }

    fn verdict(&self, cpu_ms: Option<f64>) -> Finding {
        if self.is_stalling() || self.is_waiting() {
            Finding::Blocking
        } else if self.is_working() || cpu_ms.is_some_and(|cpu_ms| self.takes_cpu(cpu_ms)) {
            Finding::Hot
        } else {
            Finding::Healthy
        }
    }

    /// Returns whether stalls that it is at fault for are not just one in a long while.
    fn is_stalling(&self) -> bool {
        let HandlerRow { requests, stalls, stalled_ms, unknown_ms, .. } = self.row;
        let (count, ms) = if CLASSES_ARE_KNOWN {
            (stalls.at_fault(), stalled_ms - unknown_ms)
        } else {
            (stalls.own(), *stalled_ms)
        };
        let is_often = count as f64 >= STALLING * *requests as f64;
        count > 0 && (is_often || ms >= STALLED * self.window_ms())
    }

    /// Returns whether it takes workers by waiting in polls below the threshold.
    ///
    /// A look does not tell a worker that was handed over with `block_in_place` from one that was not.
    fn is_waiting(&self) -> bool {
        self.row.stalls.in_place == 0 && self.waited_ms() >= WAITING * self.window_ms()
    }

    /// Milliseconds that it waited in system calls outside of stalls, as far as was seen.
    fn waited_ms(&self) -> f64 {
        (waiting(self.row) * self.window_ms() - self.row.stalled_ms).max(0.0)
    }

    /// Returns whether it takes much of the workers without waiting.
    fn is_working(&self) -> bool {
        let working = working(self.row);
        working >= HOT && working >= HOT * self.all_working
    }

    /// Returns whether it takes much of the processors, on any thread.
    fn takes_cpu(&self, cpu_ms: f64) -> bool {
        cpu_ms >= HOT * self.window_ms() && cpu_ms >= HOT * self.all_cpu
    }

    fn window_ms(&self) -> f64 {
        self.seconds * 1e3
    }

    /// What its stalls show, and the waits in shorter polls if they are much.
    fn causes_of_blocking(&self, stalled: &Evidence<'_>) -> Vec<Cause> {
        let mut causes = stalled.causes(CAUSES);
        if !self.is_waiting() {
            return causes;
        }
        let (stalled_ms, waited_ms) = (stalled.millis(), self.waited_ms());
        let share = waited_ms / (stalled_ms + waited_ms);
        for cause in &mut causes {
            cause.share *= 1.0 - share;
        }
        causes.push(Cause::of_short_waits(share, self.row, self.threshold_ms));
        causes.sort_by(|a, b| b.share.total_cmp(&a.share));
        causes.truncate(CAUSES);
        causes
    }
}

/// Why waits in short polls have no stack, and where it can be had.
const SHORT_WAITS_HAVE_NO_STACK: &str =
    "polls below the threshold have no stack: /debug/fgprof?seconds=10 shows where they wait";

/// True where the system tells of what class a stall is.
const CLASSES_ARE_KNOWN: bool = cfg!(sampler);

/// Workers that wait in system calls for a handler, on average.
fn waiting(row: &HandlerRow) -> f64 {
    row.waits.iter().map(|wait| wait.workers).sum()
}

/// Workers that a handler takes without waiting, on average.
fn working(row: &HandlerRow) -> f64 {
    (row.worker_share - waiting(row)).max(0.0)
}

impl Cause {
    /// Waits in polls below the threshold, which have no stack.
    fn of_short_waits(share: f64, row: &HandlerRow, threshold_ms: f64) -> Self {
        let syscall = row.waits.first().map(|wait| wait.syscall.as_str());
        let rule = causes::Rule::of(Some(Class::Blocked.name()), syscall, &causes::Stack::new([]));
        let length = if row.poll_ms.p90 > 0.0 && row.poll_ms.p90 < threshold_ms {
            format!("{} ms each, ", millis(row.poll_ms.p90))
        } else {
            String::new()
        };
        Self {
            what: format!(
                "{}, for short times ({length}below the threshold of {} ms)",
                rule.what,
                millis(threshold_ms)
            ),
            share,
            class: Some(Class::Blocked),
            syscall: syscall.map(str::to_owned),
            at: None,
            r#try: rule.remedy.to_owned(),
            no_stack: Some(SHORT_WAITS_HAVE_NO_STACK.to_owned()),
            held_by: Vec::new(),
            leaves: Vec::new(),
            stack: Vec::new(),
        }
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
        let Numbers { stalled_ms, harm_ms, cpu_ms, busy_ms, cpu_share, .. } = &self.numbers;
        match self.verdict {
            // Where it waits in short polls, all of its time in polls is taken by that and by stalls.
            Finding::Blocking => {
                let waited_ms = cpu_share.map_or(0.0, |share| (1.0 - share) * busy_ms);
                stalled_ms.max(waited_ms) + harm_ms.unwrap_or(0.0)
            }
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
            unknown_ms: row.unknown_ms,
            holding: row.holding,
            waits: row.waits.clone(),
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
    let unknown: u64 = verdicts.iter().map(|verdict| verdict.numbers.stalls.unknown).sum();
    if unknown > 0 && CLASSES_ARE_KNOWN {
        notes.push(format!(
            "{unknown} polls were long for a reason that is not known, and make no verdict: the \
             machine was so busy that the watchdog came too late to see it"
        ));
    }
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
