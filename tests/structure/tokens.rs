//! The paths in tokens that are not parsed: what macros and attributes are given.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::{ItemUse, LitStr, Path, ext::IdentExt as _};

use crate::imports::{self, Segments, line};

/// A path found in tokens.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) segments: Segments,
    pub(crate) line: usize,
    /// Whether a `!` and a group follow.
    pub(crate) is_macro: bool,
}

/// Returns the paths of two names or more, and the macros that are called.
pub(crate) fn paths(tokens: TokenStream) -> Vec<Found> {
    let mut found = vec![];
    scan(tokens, false, &mut found);
    found
}

/// The same, and the paths in string literals: `#[serde(with = "crate::dates")]`.
pub(crate) fn paths_and_strings(tokens: TokenStream) -> Vec<Found> {
    let mut found = vec![];
    scan(tokens, true, &mut found);
    found
}

fn scan(tokens: TokenStream, with_strings: bool, found: &mut Vec<Found>) {
    let tokens = tokens.into_iter().collect::<Vec<_>>();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += match token {
            TokenTree::Ident(word) if word == "use" => import(&tokens[at..], found).unwrap_or(1),
            TokenTree::Ident(word) if word == "pub" => {
                1 + usize::from(is_place(tokens.get(at + 1)))
            }
            TokenTree::Ident(_) => path(&tokens, at, found),
            TokenTree::Group(group) => {
                scan(group.stream(), with_strings, found);
                1
            }
            TokenTree::Literal(literal) if with_strings => {
                string(TokenTree::Literal(literal.clone()).into(), found);
                1
            }
            _ => 1,
        };
    }
}

/// Reads the path that begins at a name, and returns how many tokens it has.
fn path(tokens: &[TokenTree], start: usize, found: &mut Vec<Found>) -> usize {
    let mut segments = vec![];
    let mut end = start;
    while let Some(TokenTree::Ident(name)) = tokens.get(end) {
        segments.push(name.unraw().to_string());
        end += 1;
        if !(is_colons(tokens, end) && matches!(tokens.get(end + 2), Some(TokenTree::Ident(_)))) {
            break;
        }
        end += 2;
    }
    let is_macro =
        is_punct(tokens.get(end), '!') && matches!(tokens.get(end + 1), Some(TokenTree::Group(_)));
    let is_wanted = is_macro || segments.len() > 1;
    if is_wanted && is_start(tokens, start, &segments) {
        found.push(Found { segments, line: line(tokens[start].span()), is_macro });
    }
    end - start
}

/// Returns whether a path begins here: not after `::`, not a field, not a variable of a macro.
fn is_start(tokens: &[TokenTree], start: usize, segments: &[String]) -> bool {
    let Some(before) = start.checked_sub(1) else { return true };
    let is_variable = is_punct(tokens.get(before), '$') && segments[0] != "crate";
    let is_field = is_punct(tokens.get(before), '.')
        && !before.checked_sub(1).is_some_and(|dot| is_punct(tokens.get(dot), '.'));
    let is_continued = before.checked_sub(1).is_some_and(|colons| is_colons(tokens, colons));
    !is_variable && !is_field && !is_continued
}

/// Reads a `use` among the tokens, and returns how many it has.
fn import(tokens: &[TokenTree], found: &mut Vec<Found>) -> Option<usize> {
    let end = 1 + tokens.iter().position(|token| is_punct(Some(token), ';'))?;
    let item = syn::parse2::<ItemUse>(tokens[..end].iter().cloned().collect()).ok()?;
    let leaves = imports::leaves(&item).into_iter();
    found.extend(leaves.map(|leaf| Found {
        segments: leaf.path,
        line: leaf.line,
        is_macro: false,
    }));
    Some(end)
}

/// Reads a string that holds nothing but a path.
fn string(token: TokenStream, found: &mut Vec<Found>) {
    let Ok(literal) = syn::parse2::<LitStr>(token) else { return };
    let Ok(path) = literal.parse_with(Path::parse_mod_style) else { return };
    if path.segments.len() > 1 && path.leading_colon.is_none() {
        let segments = path.segments.iter().map(|segment| segment.ident.unraw().to_string());
        let line = line(literal.span());
        found.push(Found { segments: segments.collect(), line, is_macro: false });
    }
}

/// Returns whether a token is the `(in …)` of a visibility.
fn is_place(token: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = token else { return false };
    group.delimiter() == Delimiter::Parenthesis
        && first_word(group).is_some_and(|word| word == "in")
}

fn first_word(group: &Group) -> Option<String> {
    match group.stream().into_iter().next()? {
        TokenTree::Ident(word) => Some(word.to_string()),
        _ => None,
    }
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}
