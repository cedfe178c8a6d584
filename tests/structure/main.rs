//! The structure of the workspace: no cycles between crates, none between the modules of a crate,
//! and the order of modules that each `lib.rs` states is the true one.
//!
//! The sources are parsed, not compiled, so that code for all platforms and features counts. What
//! only a test needs (`#[cfg(test)]`) does not count within a crate. A dependency that appears by
//! type inference alone, such as the call of a method, is not seen, nor are modules that a macro
//! declares.

mod attributes;
mod dependencies;
mod graph;
mod imports;
mod modules;
mod order;
mod references;
mod resolve;
mod self_tests;
mod source;
mod tokens;
mod workspace;

use std::{path::Path, sync::LazyLock};

use graph::Graph;
use source::Source;
use workspace::Workspace;

/// The modules whose children are free of cycles as well: package and path of the module.
const NESTED: &[(&str, &str)] = &[];

/// The workspace that this test is a part of.
static WORKSPACE: LazyLock<Workspace> = LazyLock::new(|| {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| Workspace::is_root(folder));
    Workspace::read(root.unwrap_or(package))
});

/// The library and the binary of each of its packages.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let roots = WORKSPACE.packages.iter().flat_map(|package| {
        let files = ["src/lib.rs", "src/main.rs"].map(|file| package.folder.join(file));
        files.map(|file| (package, file))
    });
    let roots = roots.filter(|(_, file)| file.is_file());
    roots.map(|(package, file)| Source::read(&package.name, &WORKSPACE.folder, &file)).collect()
});

#[test]
fn crates_have_no_cycles() {
    report(dependencies::between(&WORKSPACE).cycles("the workspace"));
}

#[test]
fn modules_have_no_cycles() {
    report(SOURCES.iter().filter_map(|source| modules::between(source, &[]).cycles(&source.name)));
}

#[test]
fn nested_modules_have_no_cycles() {
    report(NESTED.iter().filter_map(|&(package, module)| nested(package, module)));
}

#[test]
fn modules_are_in_the_order_stated() {
    report(SOURCES.iter().flat_map(order::violations));
}

/// Returns the cycles between the children of one module.
fn nested(package: &str, module: &str) -> Option<String> {
    let container = module.split("::").map(str::to_owned).collect::<Vec<_>>();
    let source = SOURCES
        .iter()
        .find(|source| source.package == package && source.modules.contains_key(&container))
        .unwrap_or_else(|| panic!("there is no module `{module}` in a package `{package}`"));
    modules::between(source, &container).cycles(&format!("{package}::{module}"))
}

/// Fails with the violations, if there are any.
#[track_caller]
fn report(violations: impl IntoIterator<Item = String>) {
    let violations = violations.into_iter().collect::<Vec<_>>();
    assert!(violations.is_empty(), "\n\n{}", violations.join("\n"));
}
