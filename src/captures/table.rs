//! Captures as a table for a terminal.

use bytesize::ByteSize;
use thermograph_profile::captures::Entry;

const HEAD: [&str; 6] = ["name", "kind", "handler", "time", "size", "files"];
/// Column of sizes, which are numbers.
const SIZE: usize = 4;

/// A line for each, columns as wide as what is in them.
pub(super) fn of(captures: &[Entry]) -> String {
    let rows: Vec<_> = captures.iter().map(cells).collect();
    let all = || std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().cloned());
    let mut widths = [0; HEAD.len()];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: [String; HEAD.len()]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column == SIZE { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    all().map(line).collect()
}

fn cells(entry: &Entry) -> [String; HEAD.len()] {
    let Entry { name, kind, handler, time, bytes, files } = entry;
    // What follows the name, which stands in the first column.
    let ending = |file: &String| file.split_once('.').map_or("", |(_, ending)| ending).to_owned();
    [
        name.clone(),
        (*kind).to_owned(),
        handler.clone().unwrap_or_else(|| "-".to_owned()),
        readable(time),
        ByteSize(*bytes).display().si().to_string(),
        files.iter().map(ending).collect::<Vec<_>>().join(" "),
    ]
}

/// `2026-11-25 14:30:00` for `20261125T143000Z`.
fn readable(time: &str) -> String {
    let separators = [(4, "-"), (6, "-"), (11, ":"), (13, ":")];
    let mut readable = time.trim_end_matches('Z').to_owned();
    for (at, separator) in separators.into_iter().rev() {
        if readable.is_char_boundary(at) {
            readable.insert_str(at, separator);
        }
    }
    readable.replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_heads() {
        let entry = |handler: Option<&str>, bytes| Entry {
            name: "20261125T143000Z-cpu".to_owned(),
            kind: "cpu",
            handler: handler.map(str::to_owned),
            time: "20261125T143000Z".to_owned(),
            bytes,
            files: vec!["profiles/x.pb.gz".to_owned(), "flamegraphs/x.svg".to_owned()],
        };
        let table = of(&[entry(Some("POST-a"), 1_500_000), entry(None, 12)]);
        let expected = "\
name                  kind  handler  time                   size  files
20261125T143000Z-cpu  cpu   POST-a   2026-11-25 14:30:00  1.5 MB  pb.gz svg
20261125T143000Z-cpu  cpu   -        2026-11-25 14:30:00    12 B  pb.gz svg
";
        assert_eq!(table, expected);
    }
}
