//! What differs between two configurations, and what of it a process takes over while it serves.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::{
    Loaded,
    layers::{MODELS, UPSTREAMS},
};

/// Sections that are taken over while serving; of the models, those that are upstream.
const TAKEN_OVER: [&str; 2] = ["gateway", UPSTREAMS];

impl Loaded {
    /// Paths of the values that differ from those before, and that are taken over.
    pub(crate) fn changed(&self, before: &Self) -> Vec<String> {
        self.differing(before, true)
    }

    /// Paths of the values that differ from those at the start, and that the next start takes
    /// over.
    pub(crate) fn pending(&self, started: &Self) -> Vec<String> {
        self.differing(started, false)
    }

    fn differing(&self, before: &Self, taken_over: bool) -> Vec<String> {
        let mut paths = differing(&self.table, &before.table, taken_over);
        let secrets = self.secrets.differing(&before.secrets);
        let of_upstreams = |path: &&str| path.starts_with(UPSTREAMS);
        paths.extend(secrets.filter(|path| of_upstreams(path) == taken_over).map(str::to_owned));
        paths
    }
}

fn differing(one: &Table, other: &Table, taken_over: bool) -> Vec<String> {
    let [one, other] = [one, other].map(|table| values(table, taken_over));
    let paths: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differing = paths.into_iter().filter(|path| one.get(*path) != other.get(*path));
    differing.cloned().collect()
}

/// The values that are taken over, or the others, by path.
fn values(table: &Table, taken_over: bool) -> BTreeMap<String, &Value> {
    let mut values = BTreeMap::new();
    for (section, of_section) in table {
        for (key, value) in of_section.as_table().into_iter().flatten() {
            let is_upstream = section == MODELS && value.get("upstreams").is_some();
            let is_taken_over = is_upstream || TAKEN_OVER.contains(&section.as_str());
            if is_taken_over == taken_over {
                values.insert(format!("{section}.{key}"), value);
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn loaded(text: &str) -> Loaded {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Source::new(Some(file.path()), Vec::new()).load().expect(text)
    }

    #[test]
    fn what_is_taken_over_is_told_from_what_is_not() {
        let base = "[upstreams.a]\nurl = \"http://a\"\n[models.l]\ndir = \"here\"\n";
        let started = loaded(base);
        let none = [""; 0];
        let differ = |more: &str, changed: &[&str], pending: &[&str]| {
            let loaded = loaded(&format!("{more}\n{base}"));
            assert_eq!(loaded.changed(&started), changed, "{more}");
            assert_eq!(started.changed(&loaded), changed, "{more}");
            assert_eq!(loaded.pending(&started), pending, "{more}");
            assert_eq!(started.pending(&loaded), pending, "{more}");
        };
        differ("", &none, &none);
        differ("[gateway]\nretries = 1", &["gateway.retries"], &none);
        differ("[upstreams.b]\nurl = \"http://b\"", &["upstreams.b"], &none);
        differ("[models.m]\nupstreams = [\"a\"]", &["models.m"], &none);
        differ("[models.m]\ndir = \"here\"", &none, &["models.m"]);
        differ("[api]\nlisten = \"127.0.0.1:1\"", &none, &["api.listen"]);
    }
}
