//! Every kind of capture as Go's own tool reads it, and the metrics as Prometheus' does.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
    thread,
};

use crate::{
    app::{App, agent, alone, get_bytes, get_text, tool},
    specimens,
};

/// Keeps ill handlers at work while `during` runs.
fn with_ill_load<T>(app: &App, during: impl FnOnce() -> T) -> T {
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for path in ["/ill/burn", "/ill/mutex", "/ill/sleep"] {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(agent().get(app.url(path)).call().expect("an answer").status(), 200);
                }
            });
        }
        let result = during();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        result
    })
}

pub(crate) fn pprof(arguments: &[&str], profile: &std::path::Path) -> String {
    let mut go = Command::new(tool("go"));
    let output = go.args(["tool", "pprof"]).args(arguments).arg(profile).output().expect("go runs");
    text(&output)
}

fn text(Output { status, stdout, stderr }: &Output) -> String {
    let errors = String::from_utf8_lossy(stderr);
    assert!(status.success(), "{errors}");
    String::from_utf8_lossy(stdout).into_owned() + &errors
}

#[test]
fn go_tool_pprof_reads_every_kind_of_capture() {
    let _alone = alone();
    let app = App::start(specimens::router());
    // What it measures, a route that must be there, and functions that must.
    let kinds = [
        ("/debug/pprof/profile?seconds=2", "Type: cpu", "/ill/burn", vec!["specimens::burn"]),
        (
            "/debug/fgprof?seconds=2",
            "Type: wall",
            "/ill/sleep",
            vec!["specimens::burn", "specimens::sleep_on_the_worker", "specimens::lock_a_mutex"],
        ),
        (
            "/debug/pprof/block",
            "Type: delay",
            "/ill/sleep",
            vec!["specimens::burn", "specimens::sleep_on_the_worker", "specimens::lock_a_mutex"],
        ),
        (
            "/debug/pprof/block?seconds=2",
            "Type: delay",
            "/ill/mutex",
            vec!["specimens::lock_a_mutex"],
        ),
        ("/debug/pprof/mutex", "Type: delay", "/ill/mutex", vec!["specimens::lock_a_mutex"]),
    ];
    for (path, kind, route, functions) in kinds {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let profile = with_ill_load(&app, || get_bytes(&app.diagnostics(path)));
        std::fs::write(file.path(), profile).expect("written");
        let top = pprof(&["-top", "-cum"], file.path());
        assert!(top.contains(kind), "{path}: {top}");
        for function in functions {
            assert!(top.contains(function), "{path}: {function} is not in {top}");
        }
        assert!(top.contains("Build ID: "), "{path}: {top}");
        let tree = pprof(&["-top", "-cum", "-tagroot=route"], file.path());
        assert!(tree.lines().any(|line| line.ends_with(route)), "{path}: {route} is not in {tree}");
        let svg = pprof(&["-svg"], file.path());
        assert!(svg.contains("<svg"), "{path}: {svg}");
        let lines = pprof(&["-list=specimens::", "-source_path=/"], file.path());
        assert!(lines.contains("specimens.rs"), "{path}: {lines}");
    }
}

#[test]
fn promtool_accepts_the_metrics() {
    let _alone = alone();
    let app = App::start(specimens::router());
    for path in ["/ill/sleep", "/ill/burn", "/healthy/hello", "/nowhere"] {
        agent().get(app.url(path)).call().expect("an answer");
    }
    app.stalls_of("/ill/sleep", 1);
    let metrics = get_text(&app.diagnostics("/metrics"));
    let sleep = "method=\"GET\",route=\"/ill/sleep\",class=\"blocked\"";
    for line in [
        format!("thermograph_stalls_total{{{sleep}}} 1"),
        format!("thermograph_stall_seconds_count{{{sleep}}} 1"),
        format!("thermograph_stall_seconds_bucket{{{sleep},le=\"0.01\"}} 0"),
        format!("thermograph_stall_seconds_bucket{{{sleep},le=\"+Inf\"}} 1"),
        "thermograph_stalls_dropped_total 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line} is not in\n{metrics}");
    }
    let mut check = Command::new(tool("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    check.stdin.take().expect("piped").write_all(metrics.as_bytes()).expect("written");
    let said = text(&check.wait_with_output().expect("it ends"));
    assert!(said.trim().is_empty(), "{said}");
}
