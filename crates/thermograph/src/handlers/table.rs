//! The ledger as a table for a terminal.

use std::fmt;

use super::{
    snapshot::{Arrival, HandlerRow, LedgerReport},
    trouble::Holding,
};

const HEAD: [&str; COLUMNS] = [
    "handler", "requests", "errors", "p50 ms", "p99 ms", "polls", "poll p99", "longest", "busy",
    "stalls", "harm ms",
];
const COLUMNS: usize = 11;

impl fmt::Display for LedgerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self.handlers.iter().map(cells).collect();
        let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0).max(HEAD[0].len());
        line(f, width, &HEAD.map(str::to_owned))?;
        for row in &rows {
            line(f, width, row)?;
        }
        writeln!(
            f,
            "over {:.0} s; latency from arrival to the response head and polls in ms; busy: share of \
             all handlers' time in polls; harm: how long requests and tasks waited for a worker \
             that a stall held",
            self.seconds
        )?;
        for row in self.handlers.iter().filter(|row| !row.holding.is_none()) {
            let Holding { workers, longest_ms } = row.holding;
            let plural = if workers == 1 { "" } else { "s" };
            let (method, route, longest) = (&row.method, &row.route, lasted(longest_ms));
            writeln!(f, "{method} {route} holds {workers} worker{plural} now, for {longest}")?;
        }
        if self.handlers.iter().any(|row| row.arrival == Arrival::Estimated) {
            writeln!(f, "~ about: what requests waited during stalls is an estimate")?;
        }
        let is_unknown = |row: &&HandlerRow| row.requests > 0 && row.arrival == Arrival::Unknown;
        if self.handlers.iter().any(|row| is_unknown(&row)) {
            writeln!(f, "* from the first poll: when requests arrived is not measured")?;
        }
        if self.overflowed > 0 {
            writeln!(
                f,
                "{} requests were counted in `(other)`: there are more handlers than rows",
                self.overflowed
            )?;
        }
        Ok(())
    }
}

fn cells(row: &HandlerRow) -> [String; COLUMNS] {
    let errors: u64 = row.by_class[3..].iter().sum::<u64>() + row.cancelled + row.cut;
    [
        format!("{} {}", row.method, row.route),
        row.requests.to_string(),
        errors.to_string(),
        measured(row.head_ms.p50),
        latency(row),
        row.polls.to_string(),
        measured(row.poll_ms.p99),
        measured(row.poll_ms.max),
        format!("{:.1} %", row.busy_share * 100.0),
        row.stalls.own().to_string(),
        row.harm_ms.map_or_else(|| "-".to_owned(), |harm| format!("{harm:.0}")),
    ]
}

/// Its p99, marked where it does not count from a measured arrival.
fn latency(row: &HandlerRow) -> String {
    let mark = match row.arrival {
        _ if row.requests == 0 => "",
        Arrival::Measured => "",
        Arrival::Estimated => "~",
        Arrival::Unknown => "*",
    };
    format!("{}{mark}", measured(row.head_ms.p99))
}

fn line(f: &mut fmt::Formatter<'_>, width: usize, cells: &[String; COLUMNS]) -> fmt::Result {
    write!(f, "{:width$}", cells[0])?;
    for cell in &cells[1..] {
        write!(f, "  {cell:>8}")?;
    }
    writeln!(f)
}

/// Milliseconds as below, where there was something to measure: of a task that is no request, polls
/// are not.
pub(crate) fn measured(value: f64) -> String {
    if value > 0.0 { millis(value) } else { "-".to_owned() }
}

/// A length with its unit: 35.1 ms, 3.5 s.
pub(crate) fn lasted(ms: f64) -> String {
    if ms < 1e3 { format!("{} ms", millis(ms)) } else { format!("{:.1} s", ms / 1e3) }
}

/// Three digits that matter: 0.012, 1.23, 45.6, 789.
pub(crate) fn millis(value: f64) -> String {
    match value {
        v if v < 1.0 => format!("{v:.3}"),
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}
