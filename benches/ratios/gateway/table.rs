//! What was measured, a line for each that was compared.

use std::fmt::{self, Write as _};

use super::{
    Measured,
    contender::{Absent, Contender, Kind},
    phase::{Turn, Turns},
    seen::{Errors, Seen},
};

/// Headings, and beneath them their units; the first column is the name.
const COLUMNS: [[&str; 2]; 10] = [
    ["p50", "+µs"],
    ["p99", "+µs"],
    ["CPU", "µs/req"],
    ["8 conn.", "req/s"],
    ["32 conn.", "req/s"],
    ["1st p50", "+µs"],
    ["1st p99", "+µs"],
    ["gap", "ms"],
    ["requests", ""],
    ["errors", ""],
];
const NAME: usize = 20;
const WIDTH: usize = 9;

/// Shown with all digits that a figure deserves, and none more.
pub(crate) struct Table<'a> {
    pub(crate) contenders: &'a [Contender],
    pub(crate) absent: &'a [Absent],
    pub(crate) measured: &'a Measured,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in 0..2 {
            write!(f, "{:NAME$}", "")?;
            for heading in COLUMNS {
                write!(f, "{:>WIDTH$}", heading[line])?;
            }
            writeln!(f)?;
        }
        for (number, contender) in self.contenders.iter().enumerate() {
            write!(f, "{:NAME$}", contender.name)?;
            for cell in self.cells(number, contender.kind) {
                write!(f, "{cell:>WIDTH$}")?;
            }
            writeln!(f)?;
        }
        for Absent { name, why } in self.absent {
            let why = format!("{why:#}").lines().collect::<Vec<_>>().join("; ");
            writeln!(f, "{name:NAME$} not measured: {why}")?;
        }
        Ok(())
    }
}

impl Table<'_> {
    fn cells(&self, number: usize, kind: Kind) -> [String; COLUMNS.len()] {
        let Measured { single, eight, many, first, paced } = self.measured;
        // What the mock takes itself is not added.
        let added = |turns: &Turns, quantile| {
            let wait = |turn: &Turn| turn.seen.wait(quantile);
            match kind {
                Kind::Direct => format!("({:.0})", turns.median(number, wait)),
                _ => format!("{:.0}", turns.added(number, wait).median()),
            }
        };
        let per_second = |turn: &Turn| turn.seen.per_second();
        let all = self.measured.all();
        let turns = || all.iter().flat_map(|turns| turns.of(number));
        [
            added(single, 0.5),
            added(single, 0.99),
            format!("{:.1}", eight.median(number, Turn::cpu_per_request)),
            format!("{:.0}", eight.median(number, per_second)),
            format!("{:.0}", many.median(number, per_second)),
            added(first, 0.5),
            added(first, 0.99),
            format!("{:.2}", paced.median(number, |turn| turn.seen.longest_gap())),
            turns().map(|turn| turn.seen.requests()).sum::<usize>().to_string(),
            turns().map(|turn| turn.seen.failed()).sum::<u64>().to_string(),
        ]
    }

    /// What failed, in words; empty, if nothing did.
    pub(crate) fn errors(&self) -> String {
        let mut text = String::new();
        for (number, contender) in self.contenders.iter().enumerate() {
            let mut errors = Seen::default();
            for turns in self.measured.all() {
                turns.of(number).for_each(|turn| errors.add_errors(&turn.seen.errors));
            }
            let Seen { errors, .. } = errors;
            text.push_str(&of_one(&contender.name, &errors));
        }
        text
    }
}

fn of_one(name: &str, errors: &Errors) -> String {
    let mut text = String::new();
    for (what, count) in errors {
        // A String takes whatever it is given.
        let _ = write!(text, "\n{name}: {count} × {what}");
    }
    text
}
