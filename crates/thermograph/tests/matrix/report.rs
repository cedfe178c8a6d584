//! Tables of shares, and whether the aims are met.

use std::fmt::{self, Write as _};

use crate::judge::{Counts, Finding, Outcome};

/// What is aimed at, over all cells together.
struct Aim {
    what: &'static str,
    /// How many of the calls must be so.
    least: f64,
    /// How many must be so in the fixed part, which is short and runs on machines that have other
    /// things to do.
    floor: f64,
    count: fn(&Counts) -> u64,
    /// True if it need not be so beside hogs, where the run is the fixed part.
    is_for_idle: bool,
}

const AIMS: [Aim; 6] = [
    Aim {
        what: "handler",
        least: 0.99,
        floor: 0.97,
        count: |counts| counts.row,
        is_for_idle: false,
    },
    Aim {
        what: "system call",
        least: 0.99,
        floor: 0.95,
        count: |counts| counts.call,
        is_for_idle: true,
    },
    Aim {
        what: "own line",
        least: 0.99,
        floor: 0.93,
        count: |counts| counts.line,
        is_for_idle: false,
    },
    Aim {
        what: "class right",
        least: 0.97,
        floor: 0.93,
        count: |counts| counts.right,
        is_for_idle: true,
    },
    Aim {
        what: "class right or unknown",
        least: 1.0,
        floor: 0.98,
        count: |counts| counts.calls - counts.wrong - counts.preempted,
        is_for_idle: false,
    },
    Aim {
        what: "visible",
        least: 1.0,
        floor: 0.97,
        count: |counts| counts.calls - counts.invisible,
        is_for_idle: false,
    },
];
/// Times that someone who is not ill may be blamed in the fixed part.
const BLAMED: u64 = 2;

/// The name of a column, and what it counts.
type Column = (&'static str, fn(&Counts) -> u64);

/// Columns of a table, behind the number of calls.
const COLUMNS: [Column; 8] = [
    ("row", |counts| counts.row),
    ("call", |counts| counts.call),
    ("line", |counts| counts.line),
    ("right", |counts| counts.right),
    ("unknown", |counts| counts.unknown),
    ("preempted", |counts| counts.preempted),
    ("wrong", |counts| counts.wrong),
    ("invisible", |counts| counts.invisible),
];

/// A cell, with the build that it was run in.
pub(crate) fn title(outcome: &Outcome) -> String {
    let build = if outcome.cell.unstable { "unstable" } else { "plain" };
    format!("{build} {}", outcome.cell)
}

/// A table of one cell by family, and what was amiss.
pub(crate) fn of_cell(outcome: &Outcome) -> String {
    let Outcome { findings, healthy, blamed, seconds, load, .. } = outcome;
    let mut families: Vec<(&str, Counts)> = Vec::new();
    for Finding { family, counts, .. } in findings {
        match families.iter_mut().find(|(known, _)| known == family) {
            Some((_, total)) => *total += *counts,
            None => families.push((family, *counts)),
        }
    }
    families.push(("total", outcome.total()));
    let mut text = format!("{}\n{}", title(outcome), table("family", &families));
    let times: u64 = blamed.values().sum();
    let _ = writeln!(
        text,
        "{healthy} healthy calls, {times} times someone was blamed who is not ill; {seconds:.0} s, \
         load average {} to {}",
        load[0], load[1],
    );
    for finding in findings.iter().filter(|finding| !finding.counts.is_perfect()) {
        let amiss = Amiss(&finding.counts);
        let _ = writeln!(text, "  {}: {amiss}", finding.name);
        for (what, count) in &finding.seen {
            let _ = writeln!(text, "    {count} × {what}");
        }
    }
    for (what, count) in blamed {
        let _ = writeln!(text, "  blamed {count} × {what}");
    }
    text
}

/// A table of all cells.
pub(crate) fn of_all(outcomes: &[Outcome]) -> String {
    let titles: Vec<_> = outcomes.iter().map(title).collect();
    let totals = titles.iter().zip(outcomes).map(|(title, outcome)| (&**title, outcome.total()));
    let mut rows: Vec<_> = totals.collect();
    rows.push(("total", sum(outcomes.iter())));
    table("cell", &rows)
}

/// What of the aims is missed; nothing if all are met.
pub(crate) fn missed(outcomes: &[Outcome], is_fixed: bool) -> Vec<String> {
    let mut missed = Vec::new();
    for aim in AIMS {
        let counts = |outcome: &&Outcome| !(is_fixed && aim.is_for_idle && outcome.cell.hogs > 0);
        let total = sum(outcomes.iter().filter(counts));
        let least = if is_fixed { aim.floor } else { aim.least };
        if (aim.count)(&total) as f64 >= least * total.calls as f64 {
            continue;
        }
        let share = percent((aim.count)(&total), total.calls);
        let mut text = format!("{}: {share} %, not {:.0} %", aim.what, least * 100.0);
        for outcome in outcomes.iter().filter(counts) {
            let of_cell = outcome.findings.iter().filter_map(|Finding { name, counts, .. }| {
                let amiss = counts.calls - (aim.count)(counts);
                (amiss > 0).then(|| format!("{name} ({amiss} of {})", counts.calls))
            });
            let of_cell: Vec<_> = of_cell.collect();
            if !of_cell.is_empty() {
                let _ = write!(text, "\n    in {}: {}", title(outcome), of_cell.join(", "));
            }
        }
        missed.push(text);
    }
    let times: u64 = outcomes.iter().flat_map(|outcome| outcome.blamed.values()).sum();
    let blaming = outcomes.iter().filter(|_| !is_fixed || times > BLAMED);
    for outcome in blaming {
        for (what, count) in &outcome.blamed {
            missed
                .push(format!("nobody healthy is blamed: {count} × {what}, in {}", title(outcome)));
        }
    }
    missed
}

/// What is not as it must be.
struct Amiss<'a>(&'a Counts);

impl fmt::Display for Amiss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { calls, row, call, line, right, unknown, preempted, wrong, invisible } = self.0;
        write!(f, "of {calls} calls: row {row}, call {call}, line {line}, class {right}")?;
        let others = [
            ("unknown", unknown),
            ("preempted", preempted),
            ("wrong", wrong),
            ("invisible", invisible),
        ];
        for (what, count) in others.into_iter().filter(|(_, count)| **count > 0) {
            write!(f, ", {what} {count}")?;
        }
        Ok(())
    }
}

fn sum<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Counts {
    let mut sum = Counts::default();
    outcomes.for_each(|outcome| sum += outcome.total());
    sum
}

fn percent(count: u64, of: u64) -> String {
    format!("{:.2}", 100.0 * count as f64 / of.max(1) as f64)
}

/// Shares in percent.
fn table(head: &str, rows: &[(&str, Counts)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default().max(head.len());
    let mut text = format!("{head:width$}   calls");
    for (name, _) in COLUMNS {
        let _ = write!(text, " {name:>9}");
    }
    text.push('\n');
    for (name, counts) in rows {
        let _ = write!(text, "{name:width$} {:>7}", counts.calls);
        for (_, count) in COLUMNS {
            let _ = write!(text, " {:>9}", percent(count(counts), counts.calls));
        }
        text.push('\n');
    }
    text
}
