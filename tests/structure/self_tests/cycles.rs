//! Each way that a cycle comes about is found, and its places are named.

use super::{graph, source};
use crate::modules;

#[test]
fn a_crate_without_cycles_passes() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c; pub use c::C;"),
        ("src/a.rs", "pub struct A; #[cfg(test)] mod tests;"),
        ("src/b.rs", "use crate::a::A; use std::fmt; pub struct B(A);"),
        ("src/c.rs", "use super::{a, b::*}; pub struct C(a::A, B); mod inner { use super::C; }"),
    ];
    assert_eq!(graph("passes", &files).cycles("example"), None);
}

#[test]
fn through_use() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "use crate::{\n    b::{self, B as Other},\n};\npub struct A;"),
        ("src/b.rs", "use crate::a::A;\npub struct B;"),
        ("src/c.rs", "use crate::{a, b};"),
    ];
    let expected = "\
example: 2 in a cycle: a, b
  a -> b (2)
    src/a.rs:2: crate::b
  b -> a (1)
    src/b.rs:1: crate::a::A
";
    assert_eq!(graph("use", &files).cycles("example").as_deref(), Some(expected));
}

#[test]
fn through_a_path_in_code() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "pub fn a() {\n    crate::b::b::<u8>(1);\n}"),
        ("src/b.rs", "pub fn b<T>(_: T) -> crate::a::A { todo!() }"),
    ];
    let cycles = graph("path", &files).cycles("example").expect("there is a cycle");
    assert!(cycles.contains("src/a.rs:2: crate::b::b\n"), "{cycles}");
    assert!(cycles.contains("src/b.rs:1: crate::a::A\n"), "{cycles}");
}

#[test]
fn through_the_tokens_of_a_macro() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "fn a() {\n    tracing::info!(\n        n = %crate::b::N,\n    );\n}"),
        ("src/b.rs", "pub const N: u8 = 0; fn b() { vec![{ crate::a::a() }]; }"),
    ];
    let cycles = graph("macro", &files).cycles("example").expect("there is a cycle");
    assert!(cycles.contains("src/a.rs:3: crate::b::N\n"), "{cycles}");
}

#[test]
fn through_a_re_export_by_the_root() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c; pub use self::{b::{B, c as d}, c::*};"),
        ("src/a.rs", "use crate::B; pub struct A;"),
        ("src/b.rs", "use crate::C; pub struct B; pub mod c { pub struct E; }"),
        ("src/c.rs", "pub struct C(crate::a::A); type E = crate::d::E;"),
    ];
    let cycles = graph("re_export", &files).cycles("example").expect("there is a cycle");
    assert!(cycles.starts_with("example: 3 in a cycle: a, b, c\n"), "{cycles}");
    assert!(cycles.contains("  b -> c (1)\n    src/b.rs:1: crate::C\n"), "{cycles}");
    assert!(cycles.contains("  c -> b (1)\n    src/c.rs:1: crate::d::E\n"), "{cycles}");
}

#[test]
fn through_super() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "mod inner;"),
        ("src/a/inner.rs", "fn f() { super::super::b::f() }"),
        ("src/b.rs", "use super::a;"),
    ];
    let cycles = graph("super", &files).cycles("example").expect("there is a cycle");
    assert!(cycles.contains("src/a/inner.rs:1: super::super::b::f\n"), "{cycles}");
}

#[test]
fn through_an_item_of_the_root() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c; pub struct Root(a::A, B); pub use {b::B, c::C};"),
        ("src/a.rs", "use crate::Root; pub struct A;"),
        ("src/b.rs", "use crate::Root; pub struct B;"),
        ("src/c.rs", "use crate::Root; pub struct C;"),
    ];
    let cycles = graph("root", &files).cycles("example").expect("there is a cycle");
    assert!(cycles.starts_with("example: 3 in a cycle: (root), a, b\n"), "{cycles}");
}

#[test]
fn between_the_children_of_a_module() {
    let files = [
        ("src/lib.rs", "mod a; pub use a::x::X;"),
        ("src/a.rs", "pub mod x; mod y; pub use y::Y; pub fn own() {}"),
        ("src/a/x.rs", "pub struct X(super::Y);"),
        ("src/a/y.rs", "use crate::X; pub struct Y; fn f() { crate::a::own() }"),
    ];
    let source = source("nested", &files);
    assert_eq!(modules::between(&source, &[]).cycles("example"), None);
    let nested = modules::between(&source, &["a".to_owned()]);
    let cycles = nested.cycles("example::a").expect("there is a cycle");
    assert!(cycles.starts_with("example::a: 2 in a cycle: x, y\n"), "{cycles}");
}
