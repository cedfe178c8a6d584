//! `thermograph tasks` and `thermograph trace`, at the service itself.

use std::{io::Read as _, process::Output};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::support::{MODEL, Server, thermograph, under_load};

fn run(server: &Server, args: &[&str], folder: &std::path::Path) -> Output {
    let url = format!("http://{}", server.addresses.diagnostics);
    let mut command = thermograph();
    let command = command.current_dir(folder).args(args).args(["--url", &url]);
    command.output().expect("it runs")
}

fn said(Output { status, stdout, stderr }: &Output) -> String {
    assert!(status.success(), "{}", String::from_utf8_lossy(stderr));
    String::from_utf8_lossy(stdout).into_owned()
}

#[test]
fn tasks_of_the_service_have_the_names_of_its_handlers() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    under_load(&server, || {
        let full = |text: &str| {
            text.contains("request  POST /v1/embeddings") && text.contains("thermograph_engine")
        };
        crate::support::wait("a request waits for the engine", || {
            full(&said(&run(&server, &["tasks", "--full"], folder.path())))
        });
    });
    let json = said(&run(&server, &["tasks", "--json", "--route=/v1/embeddings"], folder.path()));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["tasks"].is_array() && json["unlisted"] == 0, "{json}");
}

#[test]
fn a_timeline_of_the_service_is_kept_in_a_file() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    server.embed(&json!({ "model": MODEL, "input": "warm" }));
    let output = under_load(&server, || run(&server, &["trace", "--seconds=1"], folder.path()));
    let path = said(&output);
    let path = path.trim_end();
    assert!(path.starts_with("profiles/2") && path.ends_with("Z-trace.json.gz"), "{path}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("ui.perfetto.dev"), "{output:?}");
    let mut trace = Vec::new();
    let file = std::fs::File::open(folder.path().join(path)).expect("a file");
    GzDecoder::new(file).read_to_end(&mut trace).expect("gzip");
    let trace: Value = serde_json::from_slice(&trace).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("a list");
    for (cat, name) in [
        ("poll", "POST /v1/embeddings"),
        ("request", "POST /v1/embeddings"),
        ("span", "embeddings"),
    ] {
        let is_it = |event: &Value| {
            event["cat"] == cat && event["name"].as_str().is_some_and(|it| it.contains(name))
        };
        assert!(events.iter().any(is_it), "{cat} {name} is not in {} events", events.len());
    }

    let elsewhere =
        run(&server, &["trace", "--seconds=1", "--output=here/my.json.gz"], folder.path());
    assert_eq!(said(&elsewhere), "here/my.json.gz\n");
    assert!(folder.path().join("here/my.json.gz").is_file());
    let bad = run(&server, &["trace", "--seconds=61"], folder.path());
    assert!(String::from_utf8_lossy(&bad.stderr).contains("61 is not in 1..=60"), "{bad:?}");
}
