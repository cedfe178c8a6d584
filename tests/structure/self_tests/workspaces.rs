//! The members of a workspace are found, and cycles between them.

use super::{edges, folder};
use crate::{dependencies, workspace::Workspace};

const ROOT: &str = r#"
[workspace]
members = ["crates/*", "tools/one-*"]
exclude = ["crates/excluded"]

[workspace.dependencies]
renamed = { package = "b", path = "crates/b" }

[package]
name = "root"

[target.'cfg(unix)'.dependencies]
a.path = "crates/a"
"#;

#[test]
fn members_are_found() {
    let files = [
        ("Cargo.toml", ROOT),
        ("crates/a/Cargo.toml", "package.name = 'a'"),
        ("crates/excluded/Cargo.toml", "package.name = 'excluded'"),
        ("crates/none/README.md", ""),
        ("tools/one-tool/Cargo.toml", "package.name = 'tool'"),
        ("tools/other/Cargo.toml", "package.name = 'other'"),
    ];
    let folder = folder("members", &files);
    assert!(Workspace::is_root(&folder));
    assert!(!Workspace::is_root(&folder.join("crates/a")));
    let names = Workspace::read(&folder).packages.into_iter().map(|package| package.name);
    assert_eq!(names.collect::<Vec<_>>(), ["root", "a", "tool"]);
}

#[test]
fn cycles_through_dev_dependencies_are_found() {
    let files = [
        ("Cargo.toml", ROOT),
        (
            "crates/a/Cargo.toml",
            "package.name = 'a'\n[dependencies]\nrenamed.workspace = true\nserde = '1'",
        ),
        (
            "crates/b/Cargo.toml",
            "package.name = 'b'\n[dev-dependencies]\nx = { package = 'a', path = '../a' }",
        ),
    ];
    let graph = dependencies::between(&Workspace::read(&folder("dev_cycle", &files)));
    assert_eq!(edges(&graph), ["a -> b", "b -> a", "root -> a"]);
    let expected = "\
example: 2 in a cycle: a, b
  a -> b (1)
    crates/a/Cargo.toml:3: dependencies.renamed
  b -> a (1)
    crates/b/Cargo.toml:3: dev-dependencies.x
";
    assert_eq!(graph.cycles("example").as_deref(), Some(expected));
}

#[test]
fn a_package_may_be_on_its_own() {
    let folder = folder("single", &[("Cargo.toml", "package.name = 'single'")]);
    let workspace = Workspace::read(&folder);
    assert_eq!(workspace.packages.len(), 1);
    assert_eq!(edges(&dependencies::between(&workspace)), [""; 0]);
}
