//! Names of functions reduced to what both manglings of Rust symbols have in common.
//!
//! The legacy mangling demangles to `std::sync::mpsc::Receiver<T>::recv::{{closure}}`, the v0
//! mangling to `<std::sync::mpsc::Receiver<u8>>::recv::{closure#0}`, and a program has both: today's
//! standard library is compiled with v0, and what a stable compiler compiles with it is legacy.

/// A function's path without type parameters and closures; a name without a path, as functions of
/// C have it, without the prefixes of the C library's internal aliases.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Path {
    /// `std::fs::File::read` for `<&std::fs::File as std::io::Read>::read`.
    of_type: String,
    /// `std::io::Read::read` for the same; empty where the function is no trait's.
    of_trait: String,
}

impl Path {
    pub(super) fn of(name: &str) -> Self {
        let name = without_qualifiers(name);
        if !name.contains("::") {
            return Self { of_type: c_name(name).to_owned(), of_trait: String::new() };
        }
        let Some((inner, rest)) = name.strip_prefix('<').and_then(split_at_its_end) else {
            return Self { of_type: plain(name), of_trait: String::new() };
        };
        let rest = plain(rest);
        match split_at_as(inner) {
            Some((of_type, of_trait)) => Self {
                of_type: plain_type(of_type) + &rest,
                of_trait: plain_type(of_trait) + &rest,
            },
            None => Self { of_type: plain_type(inner) + &rest, of_trait: String::new() },
        }
    }

    /// Whether it stands at the leaf and says nothing of who called it: the core library's, which is
    /// inlined, or the C library's.
    pub(super) fn is_at_leaf(&self) -> bool {
        !self.of_type.contains("::")
            || ["core::", "std::sys::", "std::time::"]
                .iter()
                .any(|part| self.of_type.starts_with(part))
    }

    /// Whether it is what a pattern stands for: a path and all that is below it; in it, a `*` at the
    /// end of a part stands for any letters.
    pub(super) fn is(&self, pattern: &str) -> bool {
        [&self.of_type, &self.of_trait].into_iter().any(|path| is_below(path, pattern))
    }
}

fn is_below(path: &str, pattern: &str) -> bool {
    let is_c = |name: &str| !name.contains("::");
    if path.is_empty() || is_c(path) != is_c(pattern) {
        return false;
    }
    let mut parts = path.split("::");
    pattern.split("::").filter(|wanted| !wanted.is_empty()).all(|wanted| {
        parts.next().is_some_and(|part| match wanted.strip_suffix('*') {
            Some(beginning) => part.starts_with(beginning),
            None => part == wanted,
        })
    })
}

/// Without references and what stands before a type.
fn without_qualifiers(name: &str) -> &str {
    let trimmed = name.trim_start_matches(['&', '*', '(', ' ']);
    let rest =
        ["mut ", "const ", "dyn ", "impl "].iter().find_map(|word| trimmed.strip_prefix(word));
    rest.map_or(trimmed, without_qualifiers)
}

/// A type's path; `slice` for a slice or an array, as the standard library's module is called.
fn plain_type(name: &str) -> String {
    let name = without_qualifiers(name);
    match name.strip_prefix('<').and_then(split_at_its_end) {
        // An associated type, `<T as Trait>::Type`.
        Some((inner, rest)) => {
            plain_type(split_at_as(inner).map_or(inner, |(of_type, _)| of_type)) + &plain(rest)
        }
        None if name.starts_with('[') => "slice".to_owned(),
        None => plain(name),
    }
}

/// Without type parameters, implementations and closures.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut depth = 0_usize;
    let mut before = ' ';
    for letter in name.chars() {
        match letter {
            '<' | '{' => depth += 1,
            // The arrow of a function's type.
            '>' if before == '-' => {}
            '>' | '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
        before = letter;
    }
    let mut parts = plain.split("::").map(str::trim);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.filter(|part| !part.is_empty()).fold(first, |path, part| path + "::" + part)
}

/// What is before the bracket that closes, and what is behind it.
fn split_at_its_end(name: &str) -> Option<(&str, &str)> {
    let end = at_depth_zero(name, |rest| rest.starts_with('>'))?;
    Some((&name[..end], &name[end + 1..]))
}

/// The type and the trait of `Type as Trait`.
fn split_at_as(name: &str) -> Option<(&str, &str)> {
    const AS: &str = " as ";
    let at = at_depth_zero(name, |rest| rest.starts_with(AS))?;
    Some((&name[..at], &name[at + AS.len()..]))
}

/// The first place outside of all brackets that open in the name where something is.
fn at_depth_zero(name: &str, is_there: impl Fn(&str) -> bool) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, letter) in name.char_indices() {
        let is_arrow = letter == '>' && before == '-';
        if depth == 0 && !is_arrow && is_there(&name[at..]) {
            return Some(at);
        }
        match letter {
            '<' => depth += 1,
            '>' if !is_arrow => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = letter;
    }
    None
}

/// `read` for `__GI___libc_read`; a symbol's version is left out.
fn c_name(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    let name = name.strip_prefix("__GI_").unwrap_or(name);
    let name = name.strip_prefix("__libc_").unwrap_or(name);
    name.trim_start_matches('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_manglings_have_the_same_path() {
        for (names, of_type, of_trait) in [
            (
                &["std::process::Command::output", "<std::process::Command>::output"][..],
                "std::process::Command::output",
                "",
            ),
            (
                &[
                    "std::sync::mpsc::Receiver<T>::recv::{{closure}}",
                    "<std::sync::mpsc::Receiver<alloc::vec::Vec<u8>>>::recv::{closure#0}",
                ],
                "std::sync::mpsc::Receiver::recv",
                "",
            ),
            (
                &[
                    "<&std::fs::File as std::io::Read>::read",
                    "<&mut std::fs::File as std::io::Read>::read",
                ],
                "std::fs::File::read",
                "std::io::Read::read",
            ),
            (
                &[
                    "core::ptr::drop_in_place<serde_json::value::Value>",
                    "core::ptr::drop_in_place::<serde_json::value::Value>",
                ],
                "core::ptr::drop_in_place",
                "",
            ),
            (
                &[
                    "<F as axum::handler::Handler<((),),S>>::call",
                    "<F as axum::handler::Handler<((),), S>>::call::<fn(u8) -> u8>",
                ],
                "F::call",
                "axum::handler::Handler::call",
            ),
            (
                &[
                    "<tokio::runtime::runtime::Runtime>::block_on::<app::main::{closure#0}>",
                    "tokio::runtime::runtime::Runtime::block_on",
                ],
                "tokio::runtime::runtime::Runtime::block_on",
                "",
            ),
            (
                &["<alloc::boxed::Box<dyn core::ops::FnOnce(u8) -> u8> as app::Work>::run"],
                "alloc::boxed::Box::run",
                "app::Work::run",
            ),
            (&["<[u32]>::sort"], "slice::sort", ""),
            (&["alloc::slice::<impl [T]>::sort"], "alloc::slice::sort", ""),
            (&["<<T as app::Has>::Of as app::Does>::it"], "T::Of::it", "app::Does::it"),
            (&["__GI___libc_read", "read", "__libc_read", "read@@GLIBC_2.2.5"], "read", ""),
            (&["_rjem_je_malloc"], "rjem_je_malloc", ""),
        ] {
            for name in names {
                let expected = Path { of_type: of_type.to_owned(), of_trait: of_trait.to_owned() };
                assert_eq!(Path::of(name), expected, "{name}");
            }
        }
    }

    #[test]
    fn a_pattern_is_a_path_and_what_is_below_it() {
        let is = |name, pattern| Path::of(name).is(pattern);
        assert!(is("<std::process::Command>::output", "std::process::"));
        assert!(is("<std::process::Command>::output", "std::process::Command::output"));
        assert!(is("candle_core::cpu::matmul", "candle_*::"));
        assert!(is("<app::Own as serde_core::ser::Serialize>::serialize", "serde_core::"));
        assert!(is("sqlite3_step", "sqlite3_*"));
        // An app's module of the same name, a crate whose name only begins so, a type parameter.
        for (name, pattern) in [
            ("app::regex::compile", "regex::"),
            ("regex_lite::compile", "regex::"),
            ("alloc::vec::Vec<regex::Match>::push", "regex::"),
            ("sqlite3_step::run", "sqlite3_*"),
            ("app::read", "read"),
            ("pread64", "read"),
        ] {
            assert!(!is(name, pattern), "{name} is no {pattern}");
        }
    }
}
