//! Compares the stalls of calls with what they must look like.

use std::{
    collections::BTreeMap,
    ops::AddAssign,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use thermograph::{Class, Ledger, Stall, stall::StallFrame};

use crate::{cell::Cell, places::Spent, specimen::Specimen};

/// A call of a specimen: its request id, and when it was made, in seconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) spent: Spent,
}

impl Call {
    /// Returns whether it would have been no stall on a machine with nothing else to do: others had
    /// the processor until what it waits for had come.
    fn is_disturbed(&self) -> bool {
        self.spent.length.saturating_sub(self.spent.queued) < Ledger::THRESHOLD
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// How many calls there were, and of how many this and that was as it must be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    /// The handler is right.
    pub(crate) row: u64,
    /// The system call is right.
    pub(crate) call: u64,
    /// The specimen's own function is in the stack, with file and line.
    pub(crate) line: u64,
    /// The class is right.
    pub(crate) right: u64,
    pub(crate) unknown: u64,
    /// The machine is held to be at fault.
    pub(crate) preempted: u64,
    /// The class is that of another illness.
    pub(crate) wrong: u64,
    /// There is no stall.
    pub(crate) invisible: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.row += other.row;
        self.call += other.call;
        self.line += other.line;
        self.right += other.right;
        self.unknown += other.unknown;
        self.preempted += other.preempted;
        self.wrong += other.wrong;
        self.invisible += other.invisible;
    }
}

impl Counts {
    /// Returns whether nothing is amiss.
    pub(crate) fn is_perfect(&self) -> bool {
        let of_all = [self.row, self.call, self.line, self.right];
        of_all.iter().all(|count| *count == self.calls)
    }
}

/// What was counted of one specimen.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) family: String,
    pub(crate) counts: Counts,
    /// Where something was amiss: what was seen, and how often.
    pub(crate) seen: BTreeMap<String, u64>,
}

/// What was counted in one cell.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) cell: Cell,
    pub(crate) findings: Vec<Finding>,
    /// Calls of healthy handlers.
    pub(crate) healthy: u64,
    /// Stalls that are held against who is not ill.
    pub(crate) blamed: BTreeMap<String, u64>,
    pub(crate) seconds: f64,
    /// The machine's load average before and after, over a minute.
    pub(crate) load: [f64; 2],
}

impl Outcome {
    pub(crate) fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.findings.iter().for_each(|finding| total += finding.counts);
        total
    }
}

/// A specimen, and when it was called.
pub(crate) struct Called {
    pub(crate) specimen: Specimen,
    pub(crate) calls: Vec<Call>,
}

/// What all calls came to, and who was blamed that is not ill.
pub(crate) fn judge(
    cell: Cell,
    called: &[Called],
    stalls: Vec<Stall>,
) -> (Vec<Finding>, BTreeMap<String, u64>) {
    let mut of_calls: Vec<Vec<Vec<Stall>>> =
        called.iter().map(|called| vec![Vec::new(); called.calls.len()]).collect();
    let mut blamed = BTreeMap::new();
    for stall in stalls {
        match call_of(cell, called, &stall) {
            Some((specimen, number)) => of_calls[specimen][number].push(stall),
            None if is_blamed(&stall) => {
                let is_over =
                    |called: &&Called| called.calls.last().is_none_or(|call| call.to < stall.began);
                let during = called.iter().find(|called| !is_over(called));
                let during = during.map_or("none", |called| called.specimen.name());
                *blamed.entry(format!("{} during {during}", describe(&stall))).or_default() += 1;
            }
            None => {}
        }
    }
    let findings = called
        .iter()
        .zip(of_calls)
        .map(|(Called { specimen, calls }, of)| Judge { cell, specimen }.finding(calls, of));
    (findings.collect(), blamed)
}

/// The specimen and the call that a stall is of, if it is of any.
fn call_of(cell: Cell, called: &[Called], stall: &Stall) -> Option<(usize, usize)> {
    let mut best = None;
    let mut longest = 0.0;
    for (index, Called { specimen, calls }) in called.iter().enumerate() {
        if let Some(id) = &stall.request_id {
            let Some(number) = calls.iter().position(|call| call.id == *id) else { continue };
            return Some((index, number));
        }
        let judge = Judge { cell, specimen };
        if !judge.is_row(stall) && !judge.has_line(stall) {
            continue;
        }
        for (number, call) in calls.iter().enumerate() {
            let overlap = overlap(call, stall);
            if overlap > longest {
                (best, longest) = (Some((index, number)), overlap);
            }
        }
    }
    best
}

/// For how many seconds a stall lasted while a call did.
fn overlap(call: &Call, stall: &Stall) -> f64 {
    let end = stall.began + stall.elapsed_ms / 1000.0;
    end.min(call.to) - stall.began.max(call.from)
}

/// Compares stalls with what those of a specimen must be.
struct Judge<'a> {
    cell: Cell,
    specimen: &'a Specimen,
}

impl Judge<'_> {
    /// What the calls came to, by the stalls of each.
    fn finding(&self, calls: &[Call], of_calls: Vec<Vec<Stall>>) -> Finding {
        let (mut counts, mut seen) = (Counts::default(), BTreeMap::new());
        for (call, mut stalls) in calls.iter().zip(of_calls) {
            // Of several, the one that it is about.
            stalls.sort_by(|one, other| {
                let key = |stall: &Stall| (self.has_line(stall), stall.elapsed_ms);
                key(other).partial_cmp(&key(one)).expect("numbers")
            });
            let of_this = self.count(call, stalls.first());
            counts += of_this;
            if !of_this.is_perfect() {
                let all: Vec<_> = stalls.iter().map(describe).collect();
                let what = if all.is_empty() { "nothing".to_owned() } else { all.join(" AND ") };
                *seen.entry(what).or_default() += 1;
            }
        }
        let (name, family) = (self.specimen.name().to_owned(), self.specimen.family.to_owned());
        Finding { name, family, counts, seen }
    }

    /// Returns whether the handler is the specimen, or what it must be called where tasks have no
    /// names.
    fn is_row(&self, stall: &Stall) -> bool {
        if self.specimen.place.is_task() && !self.cell.names_tasks() {
            return stall.method == "TASK" && stall.route == "(not instrumented)";
        }
        stall.method == self.specimen.method() && stall.route == self.specimen.route
    }

    fn has_line(&self, stall: &Stall) -> bool {
        let is_own = |frame: &StallFrame| {
            frame.function == self.specimen.function
                && frame.file.contains("tests/matrix/")
                && frame.line > 0
        };
        stall.stack.iter().any(is_own)
    }

    fn has_call(&self, stall: &Stall) -> bool {
        match &stall.syscall {
            Some(call) => self.specimen.calls.contains(&call.as_str()),
            None => self.specimen.class == Class::Cpu,
        }
    }

    fn count(&self, call: &Call, stall: Option<&Stall>) -> Counts {
        let calls = 1;
        let Some(stall) = stall else {
            return Counts { calls, invisible: 1, ..Counts::default() };
        };
        let is_excused = stall.class == Class::Preempted && call.is_disturbed();
        let is_right = is_excused || stall.class == self.specimen.class;
        Counts {
            calls,
            row: self.is_row(stall).into(),
            call: (is_excused || self.has_call(stall)).into(),
            line: self.has_line(stall).into(),
            right: is_right.into(),
            unknown: (stall.class == Class::Unknown).into(),
            preempted: (stall.class == Class::Preempted && !is_excused).into(),
            wrong: (!is_right && stall.class.is_the_handler_s()).into(),
            invisible: 0,
        }
    }
}

/// Returns whether someone is held to be ill by it.
fn is_blamed(stall: &Stall) -> bool {
    let is_warm_up = stall.route == "/warm";
    stall.class.is_the_handler_s() && !stall.in_place && !is_warm_up
}

/// In one line: handler, class, system call, and of the stack its top, what is our own, and its end.
fn describe(stall: &Stall) -> String {
    let call = stall.syscall.as_deref().unwrap_or("no call");
    let own = |frame: &&StallFrame| frame.file.contains("tests/matrix/");
    let leaf: Vec<_> = stall.stack.iter().take(3).map(|frame| short(&frame.function)).collect();
    let own: Vec<_> =
        stall.stack.iter().filter(own).take(2).map(|frame| short(&frame.function)).collect();
    let stack = match stall.no_stack {
        Some(why) if stall.stack.is_empty() => {
            let Stall { elapsed_ms, run_ms, queued_ms, .. } = stall;
            format!(
                "no stack ({why:?}); {elapsed_ms:.0} ms, ran {run_ms:.0}, queued {queued_ms:.0}"
            )
        }
        _ if stall.class == Class::Preempted => {
            let Stall { elapsed_ms, run_ms, queued_ms, .. } = stall;
            let leaf = leaf.join(" < ");
            format!("{leaf}; {elapsed_ms:.0} ms, ran {run_ms:.0}, queued {queued_ms:.0}")
        }
        _ => {
            let root = stall.stack.last().map_or("", |frame| short(&frame.function));
            let (leaf, own) = (leaf.join(" < "), own.join(" < "));
            format!("{leaf} … {own} … {root}, {} frames", stall.stack.len())
        }
    };
    format!("{} {} {} {call}: {stack}", stall.method, stall.route, stall.class)
}

/// The last two segments of a name.
fn short(function: &str) -> &str {
    let mut parts = function.rmatch_indices("::");
    parts.nth(1).map_or(function, |(start, _)| &function[start + 2..])
}
