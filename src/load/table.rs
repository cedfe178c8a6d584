//! The report as a table for a terminal.

use std::fmt;

use super::{Report, Row};

const HEAD: [&str; 10] =
    ["kind", "requests", "errors", "req/s", "inputs/s", "p50", "p90", "p99", "p99.9", "max"];
/// Column of texts a second, left out where there are none.
const INPUTS: usize = 4;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.kinds.iter().filter(|_| self.kinds.len() > 1).chain([&self.total]);
        let rows: Vec<_> = rows.map(cells).collect();
        let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0).max(HEAD[0].len());
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String; 10]| {
            write!(f, "{:width$}", cells[0])?;
            for (column, cell) in cells.iter().enumerate().skip(1) {
                if column != INPUTS || self.total.inputs > 0 {
                    write!(f, "  {cell:>8}")?;
                }
            }
            writeln!(f)
        };
        line(f, &HEAD.map(str::to_owned))?;
        for row in &rows {
            line(f, row)?;
        }
        self.footing(f)
    }
}

impl Report {
    fn footing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, errors) in &self.errors {
            writeln!(f, "{} × {kind}: {}", errors.count, errors.example)?;
        }
        let Self { seconds, connections, .. } = self;
        write!(f, "over {seconds:.1} s, {connections} connections, ")?;
        match self.rate {
            Some(rate) => writeln!(f, "open loop at {rate}/s; ms from when a request was due"),
            None => writeln!(f, "closed loop; ms from when a request was sent"),
        }
    }
}

fn cells(row: &Row) -> [String; 10] {
    let latency = &row.latency_ms;
    let answered = row.requests > row.failed;
    let millis = |value| if answered { three_digits(value) } else { "-".to_owned() };
    [
        row.name.clone(),
        row.requests.to_string(),
        row.failed.to_string(),
        format!("{:.1}", row.requests_per_second),
        format!("{:.1}", row.inputs_per_second),
        millis(latency.p50),
        millis(latency.p90),
        millis(latency.p99),
        millis(latency.p999),
        millis(latency.max),
    ]
}

/// Three digits that matter: 0.012, 1.23, 45.6, 789.
fn three_digits(value: f64) -> String {
    match value {
        v if v < 1.0 => format!("{v:.3}"),
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}
