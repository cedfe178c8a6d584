//! Collects the paths that one module mentions.

use std::path::Path;

use syn::{
    Arm, Attribute, Block, Field, FieldValue, File, ImplItem, Item, ItemMod, ItemUse, Macro, Stmt,
    TraitItem, Variant, Visibility,
    ext::IdentExt as _,
    visit::{self, Visit},
};

use crate::{
    attributes::{self, is_for_tests},
    graph::Place,
    imports::{self, Import, Segments, line},
    source::Module,
    tokens::{self, Found},
};

/// Attributes whose arguments are not paths of code: texts, conditions, names of lints.
const WITHOUT_PATHS: [&str; 8] =
    ["allow", "cfg", "deny", "doc", "expect", "forbid", "path", "warn"];

/// A path that a module mentions.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) kind: Kind,
    /// The path, with the imports of the blocks that it stands in put in.
    pub(crate) segments: Segments,
    pub(crate) place: Place,
}

/// The kinds of mentions that are resolved differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A path in code.
    Path,
    /// A private `use`.
    Import,
    /// A `use` that others see.
    ReExport,
    /// A macro called by its mere name, which may be in scope by the order of the text.
    Macro,
}

/// Visits the items of one module, not those of its submodules.
pub(crate) struct Collector<'a> {
    pub(crate) module: &'a mut Module,
    pub(crate) file: &'a Path,
    /// The names imported by the blocks around, outermost first.
    blocks: Vec<Vec<Import>>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(module: &'a mut Module, file: &'a Path) -> Self {
        Self { module, file, blocks: vec![] }
    }

    fn add(&mut self, kind: Kind, segments: Segments, line: usize) {
        let text = segments.join("::");
        let place = Place { file: self.file.to_owned(), line, text };
        let segments = self.expanded(segments);
        self.module.references.push(Reference { kind, segments, place });
    }

    /// Replaces the first name of a path if a block around has imported it.
    fn expanded(&self, segments: Segments) -> Segments {
        let imports = self.blocks.iter().rev().flatten();
        let mut imports = imports.filter(|import| import.name.as_ref() == segments.first());
        match imports.next() {
            Some(import) => import.path.iter().chain(&segments[1..]).cloned().collect(),
            None => segments,
        }
    }

    fn add_found(&mut self, found: Vec<Found>) {
        for Found { segments, line, is_macro } in found {
            let is_name = is_macro && segments.len() == 1;
            self.add(if is_name { Kind::Macro } else { Kind::Path }, segments, line);
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_file(&mut self, _: &'ast File) {}

    fn visit_item(&mut self, item: &'ast Item) {
        if let Item::Verbatim(tokens) = item {
            self.add_found(tokens::paths(tokens.clone()));
        } else if !is_for_tests(attributes::of_item(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_private = matches!(item.vis, Visibility::Inherited);
        let kind = if is_private { Kind::Import } else { Kind::ReExport };
        for import in imports::leaves(item) {
            self.add(kind, import.path.clone(), import.line);
            if self.blocks.is_empty() || import.is_glob {
                self.module.imports.push(import);
            }
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let uses = block.stmts.iter().filter_map(|statement| match statement {
            Stmt::Item(Item::Use(item)) if !is_for_tests(&item.attrs) => Some(item),
            _ => None,
        });
        self.blocks.push(uses.flat_map(imports::leaves).collect());
        visit::visit_block(self, block);
        self.blocks.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter().map(|segment| segment.ident.unraw().to_string());
            let start = path.segments.first().map_or(0, |segment| line(segment.ident.span()));
            self.add(Kind::Path, segments.collect(), start);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        match call.path.get_ident() {
            Some(name) => self.add(Kind::Macro, vec![name.unraw().to_string()], line(name.span())),
            None => self.visit_path(&call.path),
        }
        self.add_found(tokens::paths(call.tokens.clone()));
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if WITHOUT_PATHS.iter().any(|name| attribute.path().is_ident(name)) {
            return;
        }
        self.visit_path(attribute.path());
        match &attribute.meta {
            syn::Meta::List(list) => {
                self.add_found(tokens::paths_and_strings(list.tokens.clone()));
            }
            syn::Meta::NameValue(pair) => self.visit_expr(&pair.value),
            syn::Meta::Path(_) => {}
        }
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !is_for_tests(attributes::of_impl_item(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !is_for_tests(attributes::of_trait_item(item)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if !is_for_tests(attributes::of_statement(statement)) {
            visit::visit_stmt(self, statement);
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if !is_for_tests(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast FieldValue) {
        if !is_for_tests(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        if !is_for_tests(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        if !is_for_tests(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }
}
