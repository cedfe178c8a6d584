//! A diagnosis in words, for a terminal.

use std::fmt::Write as _;

use super::{Cause, Diagnosis, Finding, Judge, Leaf, Numbers, StackFrame, Verdict, pool, victims};
use crate::handlers::{
    HandlerRow,
    table::{lasted, measured, millis},
};

/// Own functions of a stack that are shown; the others are in JSON and on the page.
const OWN: usize = 4;

/// The whole of it; `paint` may colour what belongs to a verdict.
pub(super) fn write(diagnosis: &Diagnosis, paint: &dyn Fn(Finding, &str) -> String) -> String {
    let Diagnosis { seconds, verdicts, notes, .. } = diagnosis;
    let handler = |verdict: &Verdict| format!("{} {}", verdict.method, verdict.route);
    let width = verdicts.iter().map(|verdict| handler(verdict).chars().count()).max();
    let width = width.unwrap_or(0).max("handler".len());
    let mut text = format!(
        "{:8}  {:width$}  {:>8}  {:>7}  {:>6}  {:>10}  {:>7}\n",
        "verdict", "handler", "requests", "workers", "stalls", "longest ms", "harm ms"
    );
    // Writing to a string cannot fail.
    for verdict in verdicts {
        let Numbers { requests, worker_share, stalls, longest_ms, harm_ms, .. } = &verdict.numbers;
        let word = paint(verdict.verdict, &format!("{:8}", verdict.verdict));
        let harm = harm_ms.map_or_else(|| "-".to_owned(), |harm| format!("{harm:.0}"));
        let _ = writeln!(
            text,
            "{word}  {:width$}  {requests:>8}  {worker_share:>7.2}  {:>6}  {:>10}  {harm:>7}",
            handler(verdict),
            stalls.own(),
            measured(*longest_ms),
        );
    }
    for verdict in verdicts.iter().filter(|verdict| !verdict.is_healthy()) {
        let title = format!("{} is {}", handler(verdict), verdict.verdict);
        let _ = writeln!(text, "\n{}: {}", paint(verdict.verdict, &title), verdict.summary);
        verdict.causes.iter().for_each(|cause| text.push_str(&told(cause)));
    }
    if verdicts.is_empty() {
        text.push_str("no handler was at work\n");
    } else if verdicts.iter().all(Verdict::is_healthy) {
        let healthy = paint(Finding::Healthy, "every handler is healthy");
        let but = if diagnosis.pools.is_empty() { "" } else { ", but not the blocking pool" };
        let _ = writeln!(text, "\n{healthy}{but}");
    }
    text.push_str(&pool::text(&diagnosis.pools, paint));
    text.push_str(&victims::text(&diagnosis.victims));
    let _ = writeln!(text, "\nover {seconds:.0} s");
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// What, where, and what to try.
fn told(cause: &Cause) -> String {
    let Cause { what, share, stack, r#try: remedy, .. } = cause;
    let mut text = format!("  {:3.0} % {what}{}\n", share * 100.0, within(cause));
    let mut own: Vec<_> = stack.iter().filter(|frame| frame.own).collect();
    // Closures stand in their function: where the innermost is says enough.
    own.dedup_by(|frame, inner| name(frame) == name(inner));
    own.truncate(OWN);
    // Without code of its own, a library's that works for it.
    let shown = if own.is_empty() { cause.at.iter().collect() } else { own };
    // Writing to a string cannot fail.
    for frame in &shown {
        let _ = writeln!(text, "        at {}", place(frame));
    }
    for held_by in &cause.held_by {
        let _ = writeln!(text, "        {}", held_by.told());
    }
    if let Some(missing) = &cause.no_stack {
        let _ = writeln!(text, "        {missing}");
    }
    let folded = stack.len().saturating_sub(shown.len());
    if folded > 0 {
        let _ = writeln!(text, "        and {folded} frames of libraries, runtime and system");
    }
    let _ = writeln!(text, "        try {remedy}");
    text
}

/// What it does; where no rule knows that, the function that it does it in.
fn in_short(cause: &Cause) -> String {
    match (cause.what.as_str(), cause.leaves.first()) {
        (what @ "computes", Some(Leaf { function, .. })) => format!("{what} in {function}"),
        (what, _) => what.to_owned(),
    }
}

/// The system call, or the functions that the thread stood in itself.
fn within(cause: &Cause) -> String {
    if let Some(syscall) = &cause.syscall {
        return format!(", in {syscall}");
    }
    let told = |Leaf { function, share }: &Leaf| format!("{function} ({:.0} %)", share * 100.0);
    let leaves: Vec<_> = cause.leaves.iter().map(told).collect();
    if leaves.is_empty() { String::new() } else { format!(", in {}", leaves.join(", ")) }
}

/// A function, its file and line; the end of a path says enough.
pub(super) fn place(frame: &StackFrame) -> String {
    let StackFrame { file, line, .. } = frame;
    let function = name(frame);
    if file.is_empty() {
        return function.to_owned();
    }
    let mut tail: Vec<_> = file.rsplit('/').take(3).collect();
    tail.reverse();
    format!("{function} ({}:{line})", tail.join("/"))
}

/// A function's name, without the closures in it.
fn name(frame: &StackFrame) -> &str {
    frame.function.trim_end_matches("::{{closure}}")
}

/// Why a handler is judged so; `cpu_ms` are its milliseconds of CPU time.
pub(super) fn summary(
    judge: &Judge<'_>,
    verdict: Finding,
    cpu_ms: Option<f64>,
    causes: &[Cause],
) -> String {
    let HandlerRow { stalls, poll_ms, worker_share, busy_share, .. } = judge.row;
    match verdict {
        Finding::Blocking => {
            let what = causes.first().map_or_else(|| "no stack shows why".to_owned(), in_short);
            format!("{}: {what}", taken(judge))
        }
        Finding::Hot => match cpu_ms.filter(|cpu_ms| judge.takes_cpu(*cpu_ms)) {
            Some(ms) => format!(
                "it took {:.0} % of the CPU time of all handlers, {} ms",
                ms / judge.all_cpu.max(f64::MIN_POSITIVE) * 100.0,
                millis(ms)
            ),
            None => format!(
                "it kept {worker_share:.2} workers busy, {:.0} % of what all handlers did",
                busy_share * 100.0
            ),
        },
        Finding::Healthy if stalls.own() == 0 && stalls.in_place > 0 => format!(
            "its long polls, {} of them, handed their worker over with block_in_place",
            stalls.in_place
        ),
        Finding::Healthy if poll_ms.max > 0.0 => format!(
            "its polls are short: all but one in a hundred under {} ms",
            millis(poll_ms.p99)
        ),
        Finding::Healthy => "its polls are short".to_owned(),
    }
}

/// How a blocking handler took workers.
fn taken(judge: &Judge<'_>) -> String {
    let HandlerRow { stalls, stalled_ms, poll_ms, holding, .. } = judge.row;
    let mut parts = Vec::new();
    let longest = lasted(holding.longest_ms);
    match holding.workers {
        0 => {}
        1 => parts.push(format!("it holds a worker now, for {longest}")),
        workers => parts.push(format!("it holds {workers} workers now, the longest for {longest}")),
    }
    if stalls.own() > holding.workers {
        let times = if stalls.own() == 1 { "once" } else { &format!("{} times", stalls.own()) };
        let mean = stalled_ms / stalls.own() as f64;
        // The longest of a window is not exact.
        let longest = millis(poll_ms.max.max(mean));
        let mean = millis(mean);
        parts.push(format!(
            "it held a worker {times}, for {mean} ms on average and {longest} ms at most"
        ));
    }
    if judge.is_waiting() {
        let workers = judge.waited_ms() / judge.window_ms();
        parts.push(format!("{workers:.2} workers waited in its short polls on average"));
    }
    parts.join("; ")
}
