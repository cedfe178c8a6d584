//! The paths that a `use` brings in.

use proc_macro2::Span;
use syn::{ItemUse, UseTree, ext::IdentExt as _};

/// The names along a path.
pub(crate) type Segments = Vec<String>;

/// One leaf of a `use`.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    /// The name that it gets; nothing for `*` and `_`.
    pub(crate) name: Option<String>,
    /// The path without the `*`.
    pub(crate) path: Segments,
    pub(crate) is_glob: bool,
    pub(crate) line: usize,
}

/// Returns the leaves of a `use`; none if it begins with `::`, which only names other crates.
pub(crate) fn leaves(item: &ItemUse) -> Vec<Import> {
    let mut leaves = vec![];
    if item.leading_colon.is_none() {
        collect(&item.tree, &mut vec![], &mut leaves);
    }
    leaves
}

fn collect(tree: &UseTree, prefix: &mut Segments, leaves: &mut Vec<Import>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.unraw().to_string());
            collect(&path.tree, prefix, leaves);
            prefix.pop();
        }
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| collect(tree, prefix, leaves));
        }
        UseTree::Glob(glob) => leaves.push(Import {
            name: None,
            path: prefix.clone(),
            is_glob: true,
            line: line(glob.star_token.spans[0]),
        }),
        UseTree::Name(leaf) => {
            let path = joined(prefix, &leaf.ident.unraw().to_string());
            let name = path.last().cloned();
            leaves.push(Import { name, path, is_glob: false, line: line(leaf.ident.span()) });
        }
        UseTree::Rename(leaf) => {
            let path = joined(prefix, &leaf.ident.unraw().to_string());
            let name = Some(leaf.rename.unraw().to_string()).filter(|name| name != "_");
            leaves.push(Import { name, path, is_glob: false, line: line(leaf.ident.span()) });
        }
    }
}

/// Returns the path of a leaf; `a::{self}` is `a`.
fn joined(prefix: &[String], leaf: &str) -> Segments {
    let leaf = Some(leaf).filter(|leaf| *leaf != "self" || prefix.is_empty());
    prefix.iter().cloned().chain(leaf.map(str::to_owned)).collect()
}

pub(crate) fn line(span: Span) -> usize {
    span.start().line
}
