//! Paths are found wherever they stand, and resolved to the modules that they mean.

use super::{edges, graph};

#[test]
fn tests_do_not_count() {
    let files = [
        (
            "src/lib.rs",
            "mod a; mod b; #[cfg(test)] mod absent; #[cfg(all(doctest, x))] struct R(b::B);",
        ),
        (
            "src/a.rs",
            "#[cfg(all(test, unix))] use crate::b; pub struct A { #[cfg(test)] b: crate::b::B }
            impl A { #[cfg(test)] fn f() { crate::b::f() } #[test] fn t() { crate::b::f() } }
            fn g() { #[cfg(test)] crate::b::f(); #[cfg(test)] { crate::b::f(); } }
            #[cfg(test)] mod tests { use crate::b; }",
        ),
        ("src/b.rs", "#[cfg(any(test, unix))] use crate::a; #[cfg(not(test))] pub struct B;"),
    ];
    assert_eq!(edges(&graph("tests", &files)), ["b -> a"]);
}

#[test]
fn visibilities_do_not_count() {
    let files = [
        ("src/lib.rs", "pub mod a { pub mod b { pub(in crate::a) fn f() {} } } mod c;"),
        ("src/c.rs", "m! { pub(in crate::a) fn f() {} }"),
    ];
    assert_eq!(edges(&graph("visibilities", &files)), [""; 0]);
}

#[test]
fn attributes_count() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c; mod d;"),
        ("src/a.rs", r#"#[serde(with = "crate::b::dates")] #[doc = "crate::c"] struct A;"#),
        ("src/b.rs", "#[error(\"{}\", crate::c::text(.0))] struct B;"),
        ("src/c.rs", "#[crate::d::main] fn main() {}"),
        ("src/d.rs", "#[expect(crate::a::lint)] fn d() {}"),
    ];
    assert_eq!(edges(&graph("attributes", &files)), ["a -> b", "b -> c", "c -> d"]);
}

#[test]
fn names_of_modules_are_resolved_where_they_stand() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c; mod d; mod tracing;"),
        ("src/a.rs", "mod b { pub fn f() {} } fn f() { b::f(); c::f(); tracing::f(); }"),
        ("src/b.rs", "use super::*; fn f() { c::f() }"),
        ("src/c.rs", "fn f() { use crate::d as x; x::f(); m!(x::g()) } mod g { use super::f; }"),
        (
            "src/d.rs",
            "use crate as root; fn f() { root::tracing::f() } fn g() { let tracing = 1; }",
        ),
        ("src/tracing.rs", "use ::a::b; use ::{c::d}; fn f() { ::d::f(); other.a::<u8>(); }"),
    ];
    let edges = edges(&graph("names", &files));
    assert_eq!(edges, ["b -> c", "c -> d", "d -> tracing"]);
}

#[test]
fn names_by_glob_are_resolved() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c; mod prelude; use prelude::*;"),
        ("src/a.rs", "use super::*; struct A(B);"),
        ("src/b.rs", "pub struct B; fn f() -> B { let c = 1; c }"),
        ("src/c.rs", "use crate::prelude::*; struct C(B);"),
        ("src/prelude.rs", "pub use crate::b::*;"),
    ];
    let expected = ["(root) -> prelude", "a -> prelude", "c -> prelude", "prelude -> b"];
    assert_eq!(edges(&graph("globs", &files)), expected);
}

#[test]
fn macros_are_found_by_name() {
    let files = [
        (
            "src/lib.rs",
            "macro_rules! own { () => { $crate::d::f() } } #[macro_use] mod a; mod b; mod c; mod d;",
        ),
        (
            "src/a.rs",
            "macro_rules! lent { () => {} } #[macro_export] macro_rules! open { () => {} }",
        ),
        ("src/b.rs", "fn b() { lent!(); own!(); } "),
        ("src/c.rs", "fn c() { vec![crate::open!(), println!(\"{}\", 1)]; }"),
        ("src/d.rs", "m! { use crate::{b, c::{self, d}}; }"),
    ];
    let expected = ["(root) -> d", "b -> (root)", "b -> a", "c -> a", "d -> b", "d -> c"];
    assert_eq!(edges(&graph("macros", &files)), expected);
}

#[test]
fn files_are_found_by_their_attribute() {
    let files = [
        (
            "src/lib.rs",
            "#[cfg(x)] mod a; #[cfg(not(x))] #[path = \"other/no_a.rs\"] mod a; mod b; mod c; mod e;",
        ),
        ("src/a.rs", "mod r#type;"),
        ("src/a/type.rs", "use crate::b;"),
        ("src/other/no_a.rs", "mod inner;"),
        ("src/other/inner.rs", "use crate::c;"),
        ("src/b.rs", "mod inline { mod deep; }"),
        ("src/b/inline/deep.rs", "use crate::c;"),
        ("src/c.rs", ""),
        ("src/e/mod.rs", "mod f;"),
        ("src/e/f.rs", "use crate::c;"),
    ];
    assert_eq!(edges(&graph("files", &files)), ["a -> b", "a -> c", "b -> c", "e -> c"]);
}

#[test]
fn circular_imports_end() {
    let files = [
        ("src/lib.rs", "mod a; mod b; pub use a::*; pub use b::*;"),
        ("src/a.rs", "pub use crate::*; pub use crate::b::X; fn f() { Y::z(); }"),
        ("src/b.rs", "pub use crate::*; pub use crate::a::X; use serde::serde;"),
    ];
    assert_eq!(edges(&graph("circular", &files)), ["a -> b", "b -> a"]);
}
