//! The dependencies between the packages of a workspace, by their manifests.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    Graph,
    graph::Place,
    workspace::{Package, Workspace, parse},
};

/// The tables that name dependencies. Cargo itself rejects cycles through the others, but allows
/// them through `dev-dependencies`.
const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Returns which package of the workspace depends on which.
pub(crate) fn between(workspace: &Workspace) -> Graph {
    let root = parse(&workspace.manifest);
    let inherited = root.get("workspace").and_then(|table| table.get_ref().get("dependencies"));
    let inherited = inherited.and_then(|table| table.get_ref().as_table());
    let mut graph = Graph::default();
    for package in &workspace.packages {
        let manifest = parse(&package.manifest);
        for (kind, table) in tables(&manifest) {
            for (key, value) in table {
                let name = name(key.get_ref(), value.get_ref(), inherited);
                if workspace.packages.iter().any(|package| package.name == name) {
                    let place = place(workspace, package, key.span().start, kind, key.get_ref());
                    graph.add(&package.name, name, place);
                }
            }
        }
    }
    graph
}

/// Returns the tables of dependencies in a manifest, those of targets included.
fn tables<'a>(manifest: &'a DeTable<'_>) -> Vec<(&'static str, &'a DeTable<'a>)> {
    let targets = manifest.get("target").and_then(|targets| targets.get_ref().as_table());
    let targets = targets.into_iter().flat_map(|targets| targets.values());
    let targets = targets.filter_map(|target| target.get_ref().as_table());
    let all = std::iter::once(manifest).chain(targets);
    let tables = all.flat_map(|table| {
        KINDS.into_iter().filter_map(|kind| Some((kind, table.get(kind)?.get_ref().as_table()?)))
    });
    tables.collect()
}

/// Returns the name of the package that an entry stands for.
fn name<'a>(key: &'a str, value: &'a DeValue<'_>, inherited: Option<&'a DeTable<'_>>) -> &'a str {
    let is_inherited =
        value.get("workspace").is_some_and(|flag| flag.get_ref().as_bool() == Some(true));
    let value = if is_inherited {
        inherited.and_then(|table| table.get(key)).map(Spanned::get_ref)
    } else {
        Some(value)
    };
    value.and_then(|value| value.get("package")?.get_ref().as_str()).unwrap_or(key)
}

fn place(workspace: &Workspace, package: &Package, at: usize, kind: &str, key: &str) -> Place {
    let file = package.folder.join("Cargo.toml");
    let file = file.strip_prefix(&workspace.folder).map(Path::to_owned).unwrap_or(file);
    let line = 1 + package.manifest.bytes().take(at).filter(|byte| *byte == b'\n').count();
    Place { file, line, text: format!("{kind}.{key}") }
}
