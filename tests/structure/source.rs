//! The modules of one crate, read from its files.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use syn::{Item, ItemMacro, ItemMod, ext::IdentExt as _, visit::Visit as _};

use crate::{
    attributes::{self, is_for_tests},
    imports::{Import, Segments, line},
    references::{Collector, Reference},
    workspace::read,
};

/// A crate.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) package: String,
    /// The package and, for a binary, its file.
    pub(crate) name: String,
    pub(crate) is_library: bool,
    /// The documentation of the crate.
    pub(crate) docs: String,
    /// By path, the root's is empty. Two files for one path, chosen by `cfg`, are one module.
    pub(crate) modules: BTreeMap<Segments, Module>,
    /// The modules of the macros that are exported, which are named as items of the root.
    pub(crate) exported: BTreeMap<String, Segments>,
    /// The folder that the names of files are relative to.
    folder: PathBuf,
}

/// A module: its names, and the paths it mentions.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) types: BTreeSet<String>,
    pub(crate) values: BTreeSet<String>,
    /// Macros by `macro_rules!`, in scope by the order of the text.
    pub(crate) macros: BTreeSet<String>,
    /// Whether its macros are in scope of the module around (`#[macro_use]`).
    pub(crate) lends_macros: bool,
    pub(crate) imports: Vec<Import>,
    pub(crate) references: Vec<Reference>,
}

/// Where the files of a module's children are looked for.
struct Location<'a> {
    file: &'a Path,
    /// The folder for children of the usual names.
    children: PathBuf,
    /// The folder that the attribute `path` is relative to.
    attribute: PathBuf,
}

impl Source {
    /// Reads the crate whose root is a file.
    pub(crate) fn read(package: &str, folder: &Path, root: &Path) -> Self {
        let is_library = root.ends_with("lib.rs");
        let name = if is_library { package.to_owned() } else { format!("{package} (main.rs)") };
        let mut source = Self {
            package: package.to_owned(),
            name,
            is_library,
            docs: String::new(),
            modules: BTreeMap::new(),
            exported: BTreeMap::new(),
            folder: folder.to_owned(),
        };
        let parent = root.parent().unwrap_or(folder).to_owned();
        source.docs = source.file(&[], root, parent);
        source
    }

    /// Reads a file, and returns its documentation.
    fn file(&mut self, path: &[String], file: &Path, children: PathBuf) -> String {
        let syntax = syn::parse_file(&read(file))
            .unwrap_or_else(|error| panic!("{}:{}: {error}", file.display(), line(error.span())));
        let attribute = file.parent().unwrap_or(&children).to_owned();
        if !is_for_tests(&syntax.attrs) {
            self.items(path, &syntax.items, &Location { file, children, attribute });
        }
        attributes::texts(&syntax.attrs, "doc").collect::<Vec<_>>().join("\n")
    }

    fn items(&mut self, path: &[String], items: &[Item], location: &Location<'_>) {
        let shown = location.file.strip_prefix(&self.folder).unwrap_or(location.file);
        let module = self.modules.entry(path.to_owned()).or_default();
        let kept = items.iter().filter(|item| !is_for_tests(attributes::of_item(item)));
        for item in kept.clone() {
            module.define(item);
            Collector::new(module, shown).visit_item(item);
        }
        for item in kept {
            match item {
                Item::Mod(item) => self.declared(path, item, location),
                Item::Macro(item) => self.export(path, item),
                _ => {}
            }
        }
    }

    /// Reads a module that another declares.
    fn declared(&mut self, parent: &[String], item: &ItemMod, location: &Location<'_>) {
        let name = item.ident.unraw().to_string();
        let path = [parent, std::slice::from_ref(&name)].concat();
        let module = self.modules.entry(path.clone()).or_default();
        module.lends_macros |= item.attrs.iter().any(|attr| attr.path().is_ident("macro_use"));
        let given = attributes::text(&item.attrs, "path");
        if let Some((_, items)) = &item.content {
            let children = match given {
                Some(given) => location.attribute.join(given),
                None => location.children.join(name),
            };
            let attribute = children.clone();
            self.items(&path, items, &Location { file: location.file, children, attribute });
            return;
        }
        let (file, children) = match given {
            Some(given) => location.given(&given),
            None => location.usual(&name),
        };
        self.file(&path, &file, children);
    }

    fn export(&mut self, path: &[String], item: &ItemMacro) {
        let is_exported = item.attrs.iter().any(|attr| attr.path().is_ident("macro_export"));
        if let Some(name) = item.ident.as_ref().filter(|_| is_exported) {
            self.exported.insert(name.unraw().to_string(), path.to_owned());
        }
    }
}

impl Location<'_> {
    /// Returns the file of a child by its attribute `path`, and the folder for its children.
    fn given(&self, path: &str) -> (PathBuf, PathBuf) {
        let file = self.attribute.join(path);
        let children = file.parent().unwrap_or(&self.children).to_owned();
        (file, children)
    }

    /// The same by the child's name.
    fn usual(&self, name: &str) -> (PathBuf, PathBuf) {
        let children = self.children.join(name);
        let inside = children.join("mod.rs");
        let beside = self.children.join(format!("{name}.rs"));
        (if inside.is_file() { inside } else { beside }, children)
    }
}

impl Module {
    /// Notes the name that an item has.
    fn define(&mut self, item: &Item) {
        let (names, name) = match item {
            Item::Enum(item) => (&mut self.types, &item.ident),
            Item::Struct(item) => (&mut self.types, &item.ident),
            Item::Trait(item) => (&mut self.types, &item.ident),
            Item::TraitAlias(item) => (&mut self.types, &item.ident),
            Item::Type(item) => (&mut self.types, &item.ident),
            Item::Union(item) => (&mut self.types, &item.ident),
            Item::Const(item) => (&mut self.values, &item.ident),
            Item::Fn(item) => (&mut self.values, &item.sig.ident),
            Item::Static(item) => (&mut self.values, &item.ident),
            Item::Macro(ItemMacro { ident: Some(name), .. }) => (&mut self.macros, name),
            _ => return,
        };
        names.insert(name.unraw().to_string());
    }
}
