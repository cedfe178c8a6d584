//! Every parameter of every route of the door, given a bad value.

use std::collections::BTreeSet;

use crate::support::{Answer, Server, get};

/// Routes that take no parameters: what is behind `?` is nothing to them.
const WITHOUT: &[&str] = &[
    "/debug/",
    "/debug",
    // Leads to the next one.
    "/debug/pprof",
    "/debug/pprof/",
    "/debug/pprof/cmdline",
    // Addresses, which have a test of their own.
    "/debug/pprof/symbol",
    // Names, likewise.
    "/debug/captures/{file}",
    "/metrics",
];

/// What no parameter of this name takes.
fn bad(name: &str) -> String {
    match name {
        "route" => "/long".repeat(1000),
        "seconds" | "frequency" => "0".to_owned(),
        _ => "no/such.thing".to_owned(),
    }
}

#[test]
fn each_is_named_with_the_value_and_what_is_allowed() {
    let server = Server::start();
    let ask = |path: &str| get(&server.diagnostics(path));
    let mut tried = BTreeSet::new();
    for path in routes().filter(|path| !WITHOUT.contains(path)) {
        let refused = ask(&format!("{path}?no-such=1"));
        if refused.text.contains("none is allowed here") {
            continue;
        }
        let known = refused.text.trim_end().split_once("allowed here are ");
        let (_, known) = known.unwrap_or_else(|| panic!("{path}: {}", refused.text));
        for name in known.split(", ") {
            let value = bad(name);
            // Of the two that are compared, the other must be there.
            let rest = if name == "after" { "&before=20261125T143000Z-cpu" } else { "" };
            assert_refused(&ask(&format!("{path}?{name}={value}{rest}")), path, name, &value);
            tried.insert(name.to_owned());
        }
    }
    for name in ["seconds", "format", "route", "window", "debug", "full", "before"] {
        assert!(tried.contains(name), "{name} is not a parameter any more: {tried:?}");
    }
}

fn assert_refused(refused: &Answer, path: &str, name: &str, value: &str) {
    let says = &refused.text;
    assert_eq!(refused.status, 400, "{path}?{name}={value}: {says}");
    // Long ones are not repeated.
    let shown = if value.len() > 100 { format!("{} bytes", value.len()) } else { value.to_owned() };
    assert!(says.starts_with(&format!("{name}: ")) && says.contains(&shown), "{path}: {says}");
    assert!(says.contains("allowed"), "{path}: {says}");
}

/// Paths of the door, as they stand on its page.
fn routes() -> impl Iterator<Item = &'static str> {
    let page = include_str!("../../crates/thermograph/src/http.rs");
    let routes = page.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    routes.inspect(|path| assert!(path.starts_with('/'), "{path}"))
}
