//! The order of modules that the documentation of a crate states.

use std::collections::{BTreeMap, BTreeSet};

use crate::{modules, source::Source};

/// The line that the list stands under.
const HEADING: &str = "Modules, from the bottom up";

/// The number of modules from which on a library needs the list.
const LISTED_FROM: usize = 4;

/// Returns what is wrong about the list of modules, one sentence each.
pub(crate) fn violations(source: &Source) -> Vec<String> {
    let modules = source.modules.keys().filter(|path| path.len() == 1);
    let modules = modules.map(|path| path[0].as_str()).collect::<BTreeSet<_>>();
    let name = &source.name;
    let Some(list) = list(&source.docs) else {
        let is_needed = source.is_library && modules.len() >= LISTED_FROM;
        let missing = format!("{name}: no list under `# {HEADING}` in the documentation");
        return is_needed.then_some(missing).into_iter().collect();
    };
    let mut violations = vec![];
    let mut levels = BTreeMap::new();
    for (level, entry) in list.iter().enumerate() {
        for module in entry {
            if !modules.contains(module.as_str()) {
                violations.push(format!("{name}: `{module}` is listed, but is no module"));
            } else if levels.contains_key(module.as_str()) {
                violations.push(format!("{name}: `{module}` is listed twice"));
            } else {
                levels.insert(module.as_str(), level);
            }
        }
    }
    let missing = modules.iter().filter(|module| !levels.contains_key(*module));
    violations.extend(missing.map(|module| format!("{name}: `{module}` is not listed")));
    let graph = modules::between(source, &[]);
    for (from, to, places) in graph.edges() {
        if let (Some(own), Some(other), Some(place)) =
            (levels.get(from), levels.get(to), places.first())
            && other > own
        {
            let text =
                format!("{name}: `{from}` is listed below `{to}`, but depends on it: {place}");
            violations.push(text);
        }
    }
    violations
}

/// Returns the modules of each entry, if there is a list.
fn list(docs: &str) -> Option<Vec<Vec<String>>> {
    // Each line of a `//!` comment begins with a space.
    let mut lines = docs.lines().map(|line| line.strip_prefix(' ').unwrap_or(line));
    lines.find(|line| line.trim_start_matches(['#', ' ']).starts_with(HEADING))?;
    let mut entries = Vec::<String>::new();
    let mut is_after_blank = true;
    for line in lines {
        if let Some(entry) = entry(line) {
            entries.push(entry.to_owned());
        } else if line.starts_with('#') || (is_after_blank && is_paragraph(line, &entries)) {
            break;
        } else if let Some(last) = entries.last_mut().filter(|_| !line.is_empty()) {
            last.push(' ');
            last.push_str(line.trim_start());
        }
        is_after_blank = line.is_empty();
    }
    Some(entries.iter().map(|entry| names(entry)).collect())
}

/// Returns whether a line after a blank one is the text that follows the list.
fn is_paragraph(line: &str, entries: &[String]) -> bool {
    !entries.is_empty() && !line.is_empty() && !line.starts_with("  ")
}

/// Returns the text of a list's entry, if a line begins one.
fn entry(line: &str) -> Option<&str> {
    let digits = line.trim_start_matches(|mark: char| mark.is_ascii_digit());
    let bullet = line.strip_prefix("- ").or_else(|| line.strip_prefix("* "));
    bullet.or_else(|| digits.strip_prefix(". ").filter(|_| digits.len() < line.len()))
}

/// Returns the code spans that an entry begins with, linked or not: `` `clock`, [`slot`]: … ``.
fn names(entry: &str) -> Vec<String> {
    let mut names = vec![];
    let mut rest = entry;
    loop {
        rest = rest.trim_start_matches([' ', ',', '[', ']']);
        rest = rest.strip_prefix("and ").unwrap_or(rest).trim_start_matches([' ', '[']);
        let Some((name, after)) = rest.strip_prefix('`').and_then(|span| span.split_once('`'))
        else {
            return names;
        };
        names.push(name.to_owned());
        rest = after;
    }
}
