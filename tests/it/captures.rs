//! Captures that are kept: over HTTP, and on the command line.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Answer, MODEL, Server, agent, answer, get, get_bytes, thermograph, under_load, wait,
};

/// A server that keeps captures in a folder of its own.
fn server(folder: &TempDir, max: &str) -> Server {
    let path = folder.path().to_str().expect("UTF-8");
    Server::with(&[
        ("THERMOGRAPH_DIAGNOSTICS_FOLDER", path),
        ("THERMOGRAPH_DIAGNOSTICS_MAX_CAPTURES", max),
    ])
}

fn post(server: &Server, query: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = agent().post(server.diagnostics(&format!("/debug/captures?{query}")));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send_empty().expect("an answer"))
}

fn delete(server: &Server, name: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = agent().delete(server.diagnostics(&format!("/debug/captures/{name}")));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.call().expect("an answer"))
}

fn listed(server: &Server) -> Vec<Value> {
    let listing = get(&server.diagnostics("/debug/captures")).json();
    listing["captures"].as_array().expect("a list").clone()
}

/// Files in `profiles` and `flamegraphs`, hidden ones too.
fn files(folder: &Path) -> usize {
    let count = |name| std::fs::read_dir(folder.join(name)).map_or(0, Iterator::count);
    count("profiles") + count("flamegraphs")
}

#[test]
fn a_capture_is_taken_listed_shown_compared_and_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder, "9");
    let take = |query: &str| {
        let taken = post(&server, query, &[]);
        assert_eq!(taken.status, 201, "{}", taken.text);
        taken.json()
    };
    let (first, second) = under_load(&server, || {
        let of_handler = "kind=cpu&seconds=1&frequency=250&route=/v1/embeddings";
        let mut first = Value::Null;
        wait("the window has samples of the handler", || {
            first = take(of_handler);
            first["handler"] == "POST-v1-embeddings"
        });
        (first, take("kind=cpu&seconds=1&frequency=250"))
    });
    let name = first["name"].as_str().expect("a name");
    assert!(name.ends_with("Z-cpu-POST-v1-embeddings"), "{first}");
    let (kind, time) = (first["kind"].as_str(), first["time"].as_str().expect("a time"));
    assert!(kind == Some("cpu") && name.starts_with(time), "{first}");
    assert!(first["samples"].as_u64() > Some(0) && first["dropped"].is_u64(), "{first}");
    assert!(first["seconds"].as_f64().is_some_and(|seconds| (1.0..30.0).contains(&seconds)));
    let paths = [".pb.gz", ".folded"].map(|ending| format!("profiles/{name}{ending}"));
    let picture = format!("flamegraphs/{name}.svg");
    assert_eq!(first["files"], json!([paths[0], paths[1], picture]));

    let captures = listed(&server);
    assert_eq!(captures[0]["name"], second["name"], "the newest first");
    assert_eq!((&captures[0]["handler"], &captures[0]["kind"]), (&Value::Null, &json!("cpu")));
    let entry = captures.iter().find(|entry| entry["name"] == name).expect("listed");
    assert_eq!(entry["files"], first["files"]);
    let mut bytes = 0;
    for (file, content_type) in [
        (".pb.gz", "application/octet-stream"),
        (".folded", "text/plain; charset=utf-8"),
        (".svg", "image/svg+xml"),
    ] {
        let url = server.diagnostics(&format!("/debug/captures/{name}{file}"));
        let sent = agent().get(&url).call().expect("an answer");
        assert_eq!(sent.headers()["content-type"], content_type);
        let sent = get_bytes(&url);
        let of = if file == ".svg" { "flamegraphs" } else { "profiles" };
        let kept = std::fs::read(folder.path().join(of).join(format!("{name}{file}")));
        assert!(sent == kept.expect("a file"), "{file}");
        bytes += sent.len();
    }
    assert_eq!(entry["bytes"], bytes);
    let svg = get(&server.diagnostics(&format!("/debug/captures/{name}.svg"))).text;
    assert!(svg.contains("CPU time · POST /v1/embeddings"), "{svg}");
    let facts = format!(" UTC, 1 s at 250 Hz, {} samples", first["samples"]);
    assert!(svg.contains(&facts), "no `{facts}` in {svg}");

    let other = second["name"].as_str().expect("a name");
    let path = format!("/debug/diff?before={name}&after={other}");
    let difference = get(&server.diagnostics(&path));
    assert_eq!(difference.header("content-type"), "image/svg+xml", "{}", difference.text);
    assert!(difference.text.contains(&format!("{name} → {other}")), "{}", difference.text);

    assert_eq!(delete(&server, name, &[]).status, 204);
    assert!(listed(&server).iter().all(|entry| entry["name"] != name));
    assert_eq!(get(&server.diagnostics(&format!("/debug/captures/{name}.svg"))).status, 404);
    assert_eq!(delete(&server, name, &[]).status, 404);
}

#[test]
fn every_kind_is_kept_and_says_what_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder, "200");
    server.embed(&json!({ "model": MODEL, "input": "a" }));
    for (kind, title) in [
        ("wall", "Wall-clock time in polls"),
        ("stalls", "Stalls"),
        ("spans", "Time in spans"),
        ("cpu", "CPU time"),
    ] {
        let taken = post(&server, &format!("kind={kind}&seconds=1&force=true"), &[]);
        assert_eq!(taken.status, 201, "{}", taken.text);
        let name = taken.json()["name"].as_str().expect("a name").to_owned();
        assert!(name.ends_with(&format!("Z-{kind}")), "{name}");
        let svg = get(&server.diagnostics(&format!("/debug/captures/{name}.svg"))).text;
        assert!(svg.contains(&format!(">{title}</text>")), "{svg}");
        assert!(svg.contains(" UTC, 1 s"), "{svg}");
    }
    assert_eq!(listed(&server).len(), 4);
}

#[test]
fn captures_of_one_second_do_not_overwrite_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder, "200");
    std::thread::scope(|scope| {
        // Stalls have no turns: all of these run at once.
        let take = || assert_eq!(post(&server, "kind=stalls&seconds=1", &[]).status, 201);
        let taking: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        for taken in taking {
            taken.join().expect("no panic");
        }
    });
    assert_eq!(listed(&server).len(), 4);
    assert_eq!(files(folder.path()), 12, "something else was left behind");
}

#[test]
fn past_the_bound_nothing_more_is_kept_and_nothing_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder, "1");
    assert_eq!(post(&server, "kind=stalls&seconds=1", &[]).status, 201);
    // At once, and not when three hundred seconds have been captured.
    let refused = post(&server, "kind=stalls&seconds=300", &[]);
    assert_eq!(refused.status, 507, "{}", refused.text);
    assert!(refused.text.contains("diagnostics.max_captures allows 1"), "{}", refused.text);
    let captures = listed(&server);
    assert_eq!(captures.len(), 1);
    let name = captures[0]["name"].as_str().expect("a name");
    assert_eq!(delete(&server, name, &[]).status, 204);
    assert_eq!(post(&server, "kind=stalls&seconds=1", &[]).status, 201);
}

#[test]
fn where_nothing_can_be_written_a_capture_is_kept_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let profiles = folder.path().join("profiles");
    std::fs::write(&profiles, "not a folder").expect("written");
    let server = server(&folder, "9");
    let taken = post(&server, "kind=cpu&seconds=1", &[]);
    assert_eq!(taken.status, 200, "{}", taken.text);
    let said = format!("cannot write {}", profiles.display());
    let taken = taken.json();
    assert!(taken["not_saved"].as_str().expect("why").contains(&said), "{taken}");
    let name = taken["name"].as_str().expect("a name");
    assert_eq!(get(&server.diagnostics(&format!("/debug/captures/{name}.svg"))).status, 200);
    assert_eq!(delete(&server, name, &[]).status, 204);
    assert!(listed(&server).is_empty());
}

#[test]
fn pages_of_other_sites_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder, "9");
    let host = server.addresses.diagnostics.to_string();
    let own = format!("http://{host}");
    for bad in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "http://evil.example")],
        [("origin", "null")],
    ] {
        let refused = post(&server, "kind=stalls&seconds=1", &bad);
        assert_eq!(refused.status, 403, "{bad:?}: {}", refused.text);
        assert_eq!(delete(&server, "20261125T143000Z-cpu", &bad).status, 403, "{bad:?}");
    }
    assert_eq!(files(folder.path()), 0);
    let own = [("sec-fetch-site", "same-origin"), ("origin", own.as_str())];
    assert_eq!(post(&server, "kind=stalls&seconds=1", &own).status, 201);
}

#[test]
fn bad_values_are_refused_with_what_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder, "9");
    let long = format!("kind=cpu&route={}", "x".repeat(1025));
    for (query, said) in [
        ("", "kind: one is wanted of cpu, wall, stalls, heap, allocs, spans"),
        ("kind=moon", "kind: `moon` is not allowed: cpu, wall, stalls, heap, allocs, spans"),
        ("kind=diff", "kind: `diff` is not allowed"),
        ("kind=cpu&seconds=0", "seconds: `0` is not allowed: a whole number from 1 to 300"),
        ("kind=cpu&frequency=1001", "frequency: `1001`"),
        ("kind=cpu&force=yes", "force: `yes` is not allowed: false, true"),
        ("kind=cpu&folder=/tmp", "unknown parameter `folder`"),
        (&long, "route: 1025 bytes are not allowed"),
    ] {
        let refused = post(&server, query, &[]);
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.text.contains(said), "{query}: {}", refused.text);
    }
    let name = "20261125T143000Z-cpu";
    for (path, status, said) in [
        ("/debug/captures?kind=cpu".to_owned(), 400, "unknown parameter `kind`"),
        (format!("/debug/captures/{name}"), 400, ".svg, .pb.gz, .folded or .json.gz"),
        (format!("/debug/captures/{name}.exe"), 400, ".svg, .pb.gz, .folded or .json.gz"),
        (format!("/debug/captures/{name}.svg"), 404, "there is no capture"),
        ("/debug/captures/..%2F..%2Fetc%2Fpasswd".to_owned(), 400, "<time>-<kind>[-<handler>]"),
        (format!("/debug/captures/..%2F{name}.svg"), 400, "<time>-<kind>[-<handler>]"),
        ("/debug/captures/README.md".to_owned(), 400, "<time>-<kind>[-<handler>]"),
        ("/debug/diff".to_owned(), 400, "before: the name of a capture is wanted"),
        (format!("/debug/diff?before={name}"), 400, "after: the name of a capture is wanted"),
        (format!("/debug/diff?before=../{name}&after={name}"), 400, "before: `../20261125T"),
        (format!("/debug/diff?before={name}&after={name}"), 404, "there is no capture"),
    ] {
        let refused = get(&server.diagnostics(&path));
        assert_eq!(refused.status, status, "{path}: {}", refused.text);
        assert!(refused.text.contains(said), "{path}: {}", refused.text);
    }
    let refused = delete(&server, "..%2Fprofiles", &[]);
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn only_what_measures_the_same_is_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder, "9");
    let name = |kind: &str| {
        let taken = post(&server, &format!("kind={kind}&seconds=1"), &[]);
        taken.json()["name"].as_str().unwrap_or_else(|| panic!("{}", taken.text)).to_owned()
    };
    // Nothing stalls here.
    let stalls = name("stalls");
    let path = format!("/debug/diff?before={stalls}&after={stalls}");
    let refused = get(&server.diagnostics(&path));
    assert_eq!(refused.status, 422, "{}", refused.text);
    assert!(refused.text.contains("nothing was captured"), "{}", refused.text);
}

/// The program in a folder of its own.
fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command: Command = thermograph();
    command.current_dir(folder).args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_command_line_captures_lists_and_compares_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start();
    let url = server.diagnostics("");
    let capture = || {
        let args = ["capture", "cpu", "--seconds=1", "--route=/v1/embeddings", "--url", &url];
        let Output { status, stdout, stderr } = run(folder.path(), &args);
        assert!(status.success(), "{}", text(&stderr));
        text(&stdout)
    };
    let mut printed = String::new();
    under_load(&server, || {
        for _ in 0..2 {
            wait("the window has samples of the handler", || {
                printed = capture();
                printed.contains("-cpu-POST-v1-embeddings")
            });
        }
    });
    let picture = printed.lines().last().expect("a path");
    assert!(picture.starts_with("flamegraphs/2"), "{printed}");
    assert!(folder.path().join(picture).is_file(), "{printed}");

    // From elsewhere, by the folder's name.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let place = ["--folder", folder.path().to_str().expect("UTF-8")];
    let listing = run(elsewhere.path(), &["captures", "--json", place[0], place[1]]);
    let listing: Value = serde_json::from_slice(&listing.stdout).expect("JSON");
    let captures = listing["captures"].as_array().expect("a list");
    let names: Vec<_> = captures
        .iter()
        .filter(|entry| entry["handler"] == "POST-v1-embeddings")
        .map(|entry| entry["name"].as_str().expect("a name"))
        .collect();
    assert!(names.len() >= 2, "{listing}");

    let table = run(folder.path(), &["captures"]);
    let table = text(&table.stdout);
    assert!(table.starts_with("name "), "{table}");
    assert_eq!(table.lines().count(), 1 + captures.len(), "{table}");
    assert!(table.contains("  POST-v1-embeddings  "), "{table}");
    assert!(table.contains("pb.gz folded svg"), "{table}");

    let diff = ["diff", names[1], names[0], place[0], place[1]];
    let Output { status, stdout, stderr } = run(elsewhere.path(), &diff);
    assert!(status.success(), "{}", text(&stderr));
    let path = text(&stdout);
    assert!(path.trim_end().ends_with("Z-diff-cpu-POST-v1-embeddings.svg"), "{path}");
    let svg = std::fs::read_to_string(path.trim_end()).expect("a picture");
    assert!(svg.contains(&format!("{} → {}", names[1], names[0])), "{svg}");
}

#[test]
fn bad_flags_name_the_value_and_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "20261125T143000Z-cpu";
    for (args, code, said) in [
        (&["captures", "--folder"][..], 2, "--folder"),
        (&["capture", "moon"], 2, "'moon'"),
        (&["capture", "cpu", "--route="], 2, "a route such as /v1/embeddings is wanted"),
        (&["diff", name, name], 1, "there is no capture profiles/20261125T143000Z-cpu.pb.gz"),
        (&["diff", "slow.svg", name], 1, "slow.svg"),
        (&["flamegraph", "--name", "../x"], 2, "'../x'"),
    ] {
        let Output { status, stderr, .. } = run(folder.path(), args);
        assert_eq!(status.code(), Some(code), "{args:?}: {}", text(&stderr));
        assert!(text(&stderr).contains(said), "{args:?}: {}", text(&stderr));
    }
    let none = run(folder.path(), &["captures"]);
    assert!(none.status.success() && text(&none.stdout).starts_with("no captures in "));
    std::fs::write(folder.path().join("profiles"), "not a folder").expect("written");
    let unreadable = run(folder.path(), &["captures"]);
    assert!(text(&unreadable.stderr).contains("cannot read "), "{}", text(&unreadable.stderr));
}
