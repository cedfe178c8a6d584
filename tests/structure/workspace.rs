//! The members of a cargo workspace, by the lists in the manifest at its root. Path dependencies
//! that cargo makes members without a list are not among them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A workspace, or a package that is not part of any.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) folder: PathBuf,
    /// The text of the manifest at the root.
    pub(crate) manifest: String,
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// The text of its manifest.
    pub(crate) manifest: String,
}

impl Workspace {
    /// Returns whether the manifest of a folder has a table `workspace`.
    pub(crate) fn is_root(folder: &Path) -> bool {
        fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|manifest| parse(&manifest).contains_key("workspace"))
    }

    /// Reads the manifest at the root and those of all members.
    pub(crate) fn read(folder: &Path) -> Self {
        let manifest = read(&folder.join("Cargo.toml"));
        let table = parse(&manifest);
        let workspace = table.get("workspace").map(Spanned::get_ref);
        let excluded = folders(folder, workspace, "exclude");
        let mut members = folders(folder, workspace, "members");
        members.insert(folder.to_owned());
        members.retain(|member| !excluded.contains(member));
        let packages = members.iter().filter_map(|member| Package::read(member)).collect();
        drop(table);
        Self { folder: folder.to_owned(), manifest, packages }
    }
}

impl Package {
    /// Returns nothing for a folder without a manifest, or without a package in it.
    fn read(folder: &Path) -> Option<Self> {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
        let table = parse(&manifest);
        let name = table.get("package")?.get_ref().get("name")?.get_ref().as_str()?.to_owned();
        drop(table);
        Some(Self { name, folder: folder.to_owned(), manifest })
    }
}

/// Parses a manifest.
pub(crate) fn parse(manifest: &str) -> DeTable<'_> {
    DeTable::parse(manifest)
        .unwrap_or_else(|error| panic!("a manifest cannot be parsed: {error}"))
        .into_inner()
}

/// Reads a file that has to be there.
pub(crate) fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Returns the folders that one of the workspace's lists of globs names.
fn folders(root: &Path, workspace: Option<&DeValue<'_>>, list: &str) -> BTreeSet<PathBuf> {
    let globs = workspace.and_then(|workspace| workspace.get(list)?.get_ref().as_array());
    let globs = globs.into_iter().flatten().filter_map(|glob| glob.get_ref().as_str());
    globs.flat_map(|glob| matching(root, glob)).collect()
}

/// Returns the folders that a glob names; each of its components may have one `*`.
fn matching(root: &Path, glob: &str) -> Vec<PathBuf> {
    glob.split('/').filter(|component| *component != ".").fold(
        vec![root.to_owned()],
        |folders, component| match component.split_once('*') {
            None => folders.iter().map(|folder| folder.join(component)).collect(),
            Some(ends) => folders.iter().flat_map(|folder| children(folder, ends)).collect(),
        },
    )
}

/// Returns the folders inside of one whose names begin and end in a certain way.
fn children(folder: &Path, (start, end): (&str, &str)) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let matching = entries.filter(|entry| {
        let name = entry.file_name();
        let middle = name.to_str().and_then(|name| name.strip_prefix(start)?.strip_suffix(end));
        middle.is_some() && entry.path().is_dir()
    });
    matching.map(|entry| entry.path()).collect()
}
