//! A directed graph whose edges remember where they come from, and its cycles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
};

/// The places shown of each edge of a cycle, in as many files.
const SHOWN: usize = 2;

/// The dependencies between nodes that have names.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    edges: BTreeMap<String, BTreeMap<String, BTreeSet<Place>>>,
}

/// The line of a file that makes one node depend on another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    /// The path as it is written there.
    pub(crate) text: String,
}

/// The state of Tarjan's algorithm.
struct Search<'a> {
    graph: &'a Graph,
    /// The order in which nodes were first seen, and the earliest node each one leads back to.
    seen: BTreeMap<&'a str, (usize, usize)>,
    stack: Vec<&'a str>,
    components: Vec<BTreeSet<&'a str>>,
}

impl Graph {
    pub(crate) fn add(&mut self, from: &str, to: &str, place: Place) {
        let targets = self.edges.entry(from.to_owned()).or_default();
        targets.entry(to.to_owned()).or_default().insert(place);
    }

    /// Returns all edges: from, to, and the places.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (&str, &str, &BTreeSet<Place>)> {
        self.edges.iter().flat_map(|(from, targets)| {
            targets.iter().map(move |(to, places)| (from.as_str(), to.as_str(), places))
        })
    }

    /// Returns the strongly connected components that are cycles; a node that depends on itself
    /// is one.
    pub(crate) fn components(&self) -> Vec<BTreeSet<&str>> {
        let mut search =
            Search { graph: self, seen: BTreeMap::new(), stack: vec![], components: vec![] };
        for node in self.edges.keys() {
            if !search.seen.contains_key(node.as_str()) {
                search.visit(node);
            }
        }
        let mut components = search.components;
        components.retain(|nodes| {
            let is_loop = nodes.first().is_some_and(|node| self.edge(node, node).is_some());
            nodes.len() > 1 || is_loop
        });
        components
    }

    /// Describes the cycles, if there are any.
    pub(crate) fn cycles(&self, whole: &str) -> Option<String> {
        let components = self.components();
        let texts = components.iter().map(|nodes| self.describe(whole, nodes));
        let text = texts.collect::<String>();
        (!text.is_empty()).then_some(text)
    }

    fn describe(&self, whole: &str, nodes: &BTreeSet<&str>) -> String {
        let names = nodes.iter().copied().collect::<Vec<_>>().join(", ");
        let mut text = format!("{whole}: {} in a cycle: {names}\n", nodes.len());
        let inside = |(from, to, _): &(&str, &str, _)| nodes.contains(from) && nodes.contains(to);
        for (from, to, places) in self.edges().filter(inside) {
            let _ = writeln!(text, "  {from} -> {to} ({})", places.len());
            let mut samples = places.iter().collect::<Vec<_>>();
            samples.dedup_by_key(|place| &place.file);
            for place in samples.into_iter().take(SHOWN) {
                let _ = writeln!(text, "    {place}");
            }
        }
        text
    }

    fn edge(&self, from: &str, to: &str) -> Option<&BTreeSet<Place>> {
        self.edges.get(from)?.get(to)
    }
}

impl<'a> Search<'a> {
    /// Returns the earliest node on the stack that this one leads back to.
    fn visit(&mut self, node: &'a str) -> usize {
        let index = self.seen.len();
        let depth = self.stack.len();
        self.seen.insert(node, (index, index));
        self.stack.push(node);
        let graph = self.graph;
        for to in graph.edges.get(node).into_iter().flat_map(BTreeMap::keys) {
            let reached = match self.seen.get(to.as_str()) {
                None => self.visit(to),
                Some(&(index, _)) if self.stack.contains(&to.as_str()) => index,
                Some(_) => continue,
            };
            if let Some((_, low)) = self.seen.get_mut(node) {
                *low = reached.min(*low);
            }
        }
        let low = self.seen.get(node).map_or(index, |&(_, low)| low);
        if low == index {
            self.components.push(self.stack.drain(depth..).collect());
        }
        low
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}: {}", self.file.display(), self.line, self.text)
    }
}
