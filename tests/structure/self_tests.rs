//! Tests of these tests, on small crates that are written to the target directory.

mod cycles;
mod order;
mod paths;
mod workspaces;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Graph, modules, source::Source};

/// Writes files into a new folder, whose name has to be that of the test.
fn folder(test: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("structure").join(test);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the folder can be removed");
    }
    for (name, text) in files {
        let file = folder.join(name);
        let parent = file.parent().expect("the file is in a folder");
        fs::create_dir_all(parent).expect("the folder can be created");
        fs::write(&file, text).expect("the file can be written");
    }
    folder
}

/// Reads a crate of these files below `src`.
fn source(test: &str, files: &[(&str, &str)]) -> Source {
    let folder = folder(test, files);
    Source::read("example", &folder, &folder.join("src/lib.rs"))
}

/// Returns the dependencies between the top-level modules of a crate.
fn graph(test: &str, files: &[(&str, &str)]) -> Graph {
    modules::between(&source(test, files), &[])
}

/// Returns the edges of a graph as `from -> to`, without the places.
fn edges(graph: &Graph) -> Vec<String> {
    graph.edges().map(|(from, to, _)| format!("{from} -> {to}")).collect()
}
