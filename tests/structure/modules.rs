//! The dependencies between the modules of a crate.

use crate::{
    Graph,
    references::{Kind, Reference},
    resolve::{End, Resolver, Trail},
    source::Source,
};

/// Returns which child of a module depends on which other; the empty path is the crate's root.
/// The module's own items are a node as well, named in parentheses.
///
/// A path that leads through a re-export by the module, or by one around it, depends on the module
/// that has the item; the re-export itself is no dependency.
pub(crate) fn between(source: &Source, container: &[String]) -> Graph {
    let mut graph = Graph::default();
    let mut resolver = Resolver::new(source);
    let inside = source.modules.iter().filter(|(path, _)| path.starts_with(container));
    for (path, module) in inside {
        let from = node(path, container);
        let is_own = path == container;
        for reference in &module.references {
            if is_own && reference.kind == Kind::ReExport {
                continue;
            }
            for trail in trails(&mut resolver, path, reference, is_own) {
                if let Some(to) = target(&trail, container).filter(|to| *to != from) {
                    graph.add(&from, &to, reference.place.clone());
                }
            }
        }
    }
    graph
}

/// Resolves a path. For a mere name, the import that brought it in has been counted, unless that was
/// a glob, or is a re-export by the container.
fn trails(
    resolver: &mut Resolver<'_>,
    module: &[String],
    reference: &Reference,
    is_own: bool,
) -> Vec<Trail> {
    let path = reference.segments.as_slice();
    let [name] = path else { return resolver.path(module, path) };
    if reference.kind == Kind::Macro
        && let Some(trail) = resolver.textual_macro(module, name)
    {
        return vec![trail];
    }
    match reference.kind {
        Kind::Import | Kind::ReExport => resolver.path(module, path),
        Kind::Path | Kind::Macro if is_own => items(resolver.path(module, path)),
        Kind::Path | Kind::Macro => items(resolver.by_glob(module, name)),
    }
}

/// Leaves modules out: no mere name in code is that of a module.
fn items(mut trails: Vec<Trail>) -> Vec<Trail> {
    trails.retain(|trail| trail.end == End::Item);
    trails
}

/// Returns the node that a path depends on: the first that it leads to outside of the container
/// and the modules around it.
fn target(trail: &Trail, container: &[String]) -> Option<String> {
    let outside = trail.modules.iter().find(|module| !container.starts_with(module));
    let last = trail.modules.last().filter(|_| trail.end == End::Item);
    let module = outside.or(last)?;
    module.starts_with(container).then(|| node(module, container))
}

fn node(module: &[String], container: &[String]) -> String {
    match module.get(container.len()) {
        Some(child) => child.clone(),
        None => format!("({})", container.last().map_or("root", String::as_str)),
    }
}
