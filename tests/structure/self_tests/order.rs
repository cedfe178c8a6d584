//! The list of modules in the documentation of a crate is compared with the modules.

use super::source;
use crate::order::violations;

const MODULES: [(&str, &str); 4] = [
    ("src/a.rs", "pub struct A;"),
    ("src/b.rs", "pub struct B;"),
    ("src/c.rs", "use crate::{a::A, b::B};"),
    ("src/d.rs", "use crate::c;"),
];

/// Returns the violations of a crate with this documentation, one module on the other.
fn of(test: &str, docs: &str) -> Vec<String> {
    let root = format!("{docs}\nmod a; mod b; mod c; mod d;");
    let files = [[("src/lib.rs", root.as_str())].as_slice(), &MODULES].concat();
    violations(&source(test, &files))
}

#[test]
fn a_true_list_passes() {
    let docs = "\
//! An example.
//!
//! # Modules, from the bottom up
//!
//! - `a`, [`b`](b): the lowest, not `d`
//! - [`c`]: a longer
//!   text
//!
//!   - `x`: not an entry
//! - `d`
//!
//! Of another list:
//!
//! - `y`
";
    assert_eq!(of("true_list", docs), [""; 0]);
}

#[test]
fn a_list_may_be_without_a_heading() {
    let docs =
        "//! Modules, from the bottom up:\n//! 1. `a` and `b`\n//! 2. `c`\n//! 3. `d`\n//! # `e`";
    assert_eq!(of("without_heading", docs), [""; 0]);
}

#[test]
fn a_false_list_fails() {
    let docs =
        "//! # Modules, from the bottom up\n//!\n//! - `c`\n//! - `a`\n//! - `c`, `x`\n//! - `d`";
    let expected = [
        "example: `c` is listed twice",
        "example: `x` is listed, but is no module",
        "example: `b` is not listed",
        "example: `c` is listed below `a`, but depends on it: src/c.rs:1: crate::a::A",
    ];
    assert_eq!(of("false_list", docs), expected);
}

#[test]
fn a_list_is_needed_from_four_modules_on() {
    let expected = "example: no list under `# Modules, from the bottom up` in the documentation";
    assert_eq!(of("no_list", "//! An example."), [expected]);
    let files = [("src/lib.rs", "mod a;"), ("src/a.rs", "")];
    assert_eq!(violations(&source("few_modules", &files)), [""; 0]);
}
