//! Stalls as a table for a terminal: who, why, where.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::diagnostics::{Frame, Profile, Sample, plumbing};

/// Stalls, the longest time first.
#[derive(Debug)]
pub(crate) struct Table(Vec<(Kind, Sum)>);

/// Stalls of one handler that have the same cause.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Kind {
    handler: String,
    class: String,
    syscall: String,
    function: String,
}

#[derive(Clone, Debug, Default)]
struct Sum {
    count: i64,
    nanoseconds: i64,
    /// File and line where most of the time was spent, and how much.
    place: (i64, String),
}

impl Table {
    /// Of a profile of stalls.
    pub(crate) fn of(profile: &Profile) -> Self {
        let mut sums = BTreeMap::<Kind, Sum>::new();
        for sample in &profile.samples {
            let (kind, place) = Kind::of(sample);
            let sum = sums.entry(kind).or_default();
            sum.count += sample.values.first().copied().unwrap_or(0);
            sum.nanoseconds += sample.weight();
            sum.place = (sample.weight(), place).max(std::mem::take(&mut sum.place));
        }
        let mut rows: Vec<_> = sums.into_iter().collect();
        rows.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.nanoseconds));
        Self(rows)
    }
}

impl Kind {
    /// And the file and line.
    fn of(sample: &Sample) -> (Self, String) {
        let label = |name| sample.label(name).unwrap_or_default();
        let frames: Vec<_> = sample.frames().map(|frame| &**frame).collect();
        let frame = plumbing::standpoint(&frames, |frame| (&frame.name, &frame.file)).copied();
        let function = frame.map(|frame| function(&frame.name).to_owned());
        let kind = Self {
            handler: format!("{} {}", label("method"), label("route")),
            class: label("class").to_owned(),
            syscall: label("syscall").to_owned(),
            function: function.unwrap_or_default(),
        };
        (kind, frame.map(place).unwrap_or_default())
    }
}

/// A function's name, without the closures in it that stand below.
fn function(name: &str) -> &str {
    name.trim_end_matches("::{{closure}}")
}

/// File and line; the end of a path says enough.
fn place(Frame { file, line, .. }: &Frame) -> String {
    let mut tail: Vec<_> = file.rsplit('/').take(2).collect();
    tail.reverse();
    if file.is_empty() { String::new() } else { format!("({}:{line})", tail.join("/")) }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rows) = self;
        if rows.is_empty() {
            return writeln!(f, "no stall: no poll was longer than the threshold");
        }
        let cells = rows.iter().map(|(kind, sum)| {
            let each = Duration::from_nanos(sum.nanoseconds.unsigned_abs())
                / u32::try_from(sum.count).unwrap_or(u32::MAX).max(1);
            let Kind { handler, class, syscall, function } = kind.clone();
            let mean = format!("{:.1}", each.as_secs_f64() * 1e3);
            let place = format!("{function} {}", sum.place.1);
            [handler, sum.count.to_string(), mean, class, syscall, place]
        });
        let head = ["handler", "stalls", "mean ms", "class", "waits in", "at"].map(str::to_owned);
        let lines: Vec<_> = std::iter::once(head).chain(cells).collect();
        let width = |column: usize| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
        };
        let [handler, class, syscall] = [0, 3, 4].map(width);
        for [who, count, mean, why, what, place] in &lines {
            let line = format!(
                "{who:handler$}  {count:>8}  {mean:>8}  {why:class$}  {what:syscall$}  {place}"
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::diagnostics::Location;

    #[test]
    fn stalls_of_one_cause_are_one_row() {
        assert_eq!(function("app::hot::{{closure}}::{{closure}}"), "app::hot");
        let frame = |name: &str| Arc::new(Location::named(Frame::named(name)));
        let label = |name, value: &str| (name, value.to_owned());
        let sample = |thread: &str, count| Sample {
            stack: vec![frame("std::thread::sleep"), frame("app::lazy"), frame("tokio::run")],
            values: vec![count, count * 30_000_000],
            labels: vec![
                label("thread", thread),
                label("method", "GET"),
                label("route", "/lazy"),
                label("class", "blocked"),
                label("syscall", "clock_nanosleep"),
            ],
        };
        let profile = Profile {
            values: Vec::new(),
            samples: vec![sample("a", 2), sample("b", 1)],
            start: SystemTime::now(),
            duration: Duration::ZERO,
            period: None,
            dropped: 0,
        };
        let table = Table::of(&profile).to_string();
        let row = table.lines().nth(1).expect("a row");
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells, ["GET", "/lazy", "3", "30.0", "blocked", "clock_nanosleep", "app::lazy"]);
        assert_eq!(table.lines().count(), 2);
        let none = Profile { samples: Vec::new(), ..profile };
        assert!(Table::of(&none).to_string().starts_with("no stall"));
    }
}
