//! Resolves paths to the modules that they lead through.

use std::collections::BTreeSet;

use crate::{imports::Segments, source::Source};

/// The way that a path leads.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    /// The modules, in order; those that re-exports lead through are among them.
    pub(crate) modules: Vec<Segments>,
    pub(crate) end: End,
}

/// The end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The last of the modules.
    Module,
    /// An item in the last of the modules.
    Item,
    /// Another crate.
    Elsewhere,
}

/// Resolves paths within one crate.
pub(crate) struct Resolver<'a> {
    source: &'a Source,
    /// The names that are being looked up, by module: imports may be circular.
    pending: BTreeSet<(Segments, String)>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Self { source, pending: BTreeSet::new() }
    }

    /// Resolves a path that is written in a module. There is more than one result where a name is
    /// imported several times, for several platforms or features.
    pub(crate) fn path(&mut self, module: &[String], path: &[String]) -> Vec<Trail> {
        let Some((first, rest)) = path.split_first() else { return vec![] };
        let (start, rest) = match first.as_str() {
            "crate" => (&[][..], rest),
            "self" | "super" => above(module, path),
            _ => {
                let trails = self.name(module, first).into_iter();
                return trails.flat_map(|trail| self.onward(trail, rest)).collect();
            }
        };
        self.onward(Trail { modules: vec![start.to_owned()], end: End::Module }, rest)
    }

    /// Resolves a mere name that only a glob can have brought into a module.
    pub(crate) fn by_glob(&mut self, module: &[String], name: &str) -> Vec<Trail> {
        if self.is_explicit(module, name) { vec![] } else { self.globs(module, name) }
    }

    /// Resolves a macro that is in scope by the order of the text.
    pub(crate) fn textual_macro(&self, module: &[String], name: &str) -> Option<Trail> {
        let mut scopes = (0..=module.len()).rev().map(|length| &module[..length]);
        let found = scopes.find_map(|scope| self.defining(scope, name))?;
        Some(Trail { modules: vec![found], end: End::Item })
    }

    /// Follows the rest of a path from where its beginning leads.
    fn onward(&mut self, trail: Trail, rest: &[String]) -> Vec<Trail> {
        let (Some((first, rest)), End::Module) = (rest.split_first(), trail.end) else {
            return vec![trail];
        };
        let Some(module) = trail.modules.last().cloned() else { return vec![trail] };
        let found = self.name(&module, first);
        if found.is_empty() {
            // A macro defines it.
            return vec![Trail { end: End::Item, ..trail }];
        }
        let joined = found.into_iter().map(|next| Trail {
            modules: trail.modules.iter().chain(&next.modules).cloned().collect(),
            end: next.end,
        });
        let joined = joined.collect::<Vec<_>>();
        joined.into_iter().flat_map(|trail| self.onward(trail, rest)).collect()
    }

    /// Looks a name up in a module.
    fn name(&mut self, module: &[String], name: &str) -> Vec<Trail> {
        let source = self.source;
        let Some(found) = source.modules.get(module) else { return vec![] };
        let child = child(module, name);
        if source.modules.contains_key(&child) {
            return vec![Trail { modules: vec![child], end: End::Module }];
        }
        let item = Trail { modules: vec![module.to_owned()], end: End::Item };
        if found.types.contains(name) {
            return vec![item];
        }
        let key = (module.to_owned(), name.to_owned());
        if !self.pending.insert(key.clone()) {
            return vec![];
        }
        let imports = found.imports.iter().filter(|import| import.name.as_deref() == Some(name));
        let mut trails = vec![];
        for import in imports {
            let found = self.path(module, &import.path);
            let elsewhere = Trail { modules: vec![], end: End::Elsewhere };
            trails.extend(if found.is_empty() { vec![elsewhere] } else { found });
        }
        if trails.is_empty() {
            if found.values.contains(name) || found.macros.contains(name) {
                trails.push(item);
            } else if let Some(defining) = source.exported.get(name).filter(|_| module.is_empty()) {
                trails.push(Trail { modules: vec![defining.clone()], end: End::Item });
            } else {
                trails = self.globs(module, name);
            }
        }
        self.pending.remove(&key);
        trails
    }

    /// Looks a name up in the modules that a module imports by `*`.
    fn globs(&mut self, module: &[String], name: &str) -> Vec<Trail> {
        let source = self.source;
        let Some(found) = source.modules.get(module) else { return vec![] };
        let mut trails = vec![];
        for import in found.imports.iter().filter(|import| import.is_glob) {
            for trail in self.path(module, &import.path) {
                let Some(last) = trail.modules.last() else { continue };
                if trail.end != End::Module || last == module {
                    continue;
                }
                let found = self.name(last, name).into_iter();
                trails.extend(found.map(|next| Trail {
                    modules: trail.modules.iter().chain(&next.modules).cloned().collect(),
                    end: next.end,
                }));
            }
        }
        trails
    }

    fn is_explicit(&self, module: &[String], name: &str) -> bool {
        let source = self.source;
        source.modules.contains_key(&child(module, name))
            || source.modules.get(module).is_some_and(|found| {
                let mut imported = found.imports.iter().filter_map(|import| import.name.as_deref());
                [&found.types, &found.values, &found.macros]
                    .iter()
                    .any(|names| names.contains(name))
                    || imported.any(|imported| imported == name)
            })
    }

    /// Returns the module that defines a macro for a scope: itself, or a child with `macro_use`.
    fn defining(&self, scope: &[String], name: &str) -> Option<Segments> {
        if self.source.modules.get(scope)?.macros.contains(name) {
            return Some(scope.to_owned());
        }
        let mut children = self.source.modules.iter().filter(|(path, module)| {
            module.lends_macros && path.len() == scope.len() + 1 && path.starts_with(scope)
        });
        children.find_map(|(path, _)| self.defining(path, name))
    }
}

/// Goes up by the `self` and `super` that a path begins with; returns the module and the rest.
fn above<'a, 'b>(module: &'a [String], path: &'b [String]) -> (&'a [String], &'b [String]) {
    match path.split_first() {
        Some((first, rest)) if first == "self" => above(module, rest),
        Some((first, rest)) if first == "super" => {
            above(&module[..module.len().saturating_sub(1)], rest)
        }
        _ => (module, path),
    }
}

fn child(module: &[String], name: &str) -> Segments {
    module.iter().cloned().chain([name.to_owned()]).collect()
}
