//! The doctor, and memory in a program whose allocator is not jemalloc, as that of this test.

use std::{
    net::Ipv4Addr,
    process::{Command, Output},
};

use axum::{Router, body::Body, http::Request, response::Response, routing::get as on_get};
use serde_json::Value;
use thermograph::{
    ConsoleMode, HeapMode, Stacks, Thermograph,
    doctor::{Finding, State},
};
use tokio::runtime;
use tower::{Service, ServiceExt as _};
use tower_layer::Layer as _;
use tracing::Dispatch;
use tracing_subscriber::{EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, registry};

use crate::support::{Server, agent, answer, get, thermograph, wait};

fn doctor(door: &str, args: &[&str]) -> Output {
    let url = format!("http://{door}");
    thermograph().args(["doctor", "--url", &url]).args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn finding(thermograph: &Thermograph, what: &str) -> Finding {
    let findings = thermograph.doctor().findings;
    findings.into_iter().find(|finding| finding.what == what).expect("a finding")
}

#[test]
fn api_that_is_open_to_all_is_a_warning_at_the_start_and_of_the_doctor() {
    let server = Server::at("0.0.0.0:0", &[]);
    let said = "anybody who reaches 0.0.0.0:0 can use its models";
    wait("it is logged", || server.log().contains(said));
    let log = server.log();
    let line = log.lines().find(|line| line.contains(said)).expect("a line");
    assert!(line.contains("\"level\":\"WARN\"") && line.contains("require_keys = true"), "{line}");
    let examined = get(&server.diagnostics("/debug/doctor")).json();
    let mut findings = examined["findings"].as_array().expect("a list").iter();
    let finding = findings.find(|finding| finding["what"] == "api_access").expect("a finding");
    assert_eq!(finding["state"], "warning", "{finding}");
    assert!(finding["says"].as_str().expect("text").contains(said), "{finding}");
    drop(server);
    assert!(!Server::start().log().contains("anybody who reaches"));
}

#[test]
fn the_service_has_what_it_takes_and_says_so_at_its_start() {
    let server = Server::start();
    let door = server.addresses.diagnostics.to_string();
    let Output { status, stdout, stderr } = doctor(&door, &[]);
    let printed = text(&stdout);
    assert_eq!(status.code(), Some(0), "{printed}{}", text(&stderr));
    for what in [
        "tokio_unstable",
        "frame_pointers",
        "optimised",
        "handler_names",
        "unwind_tables",
        "stacks",
        "classes",
        "kernel_tick",
        "layer",
        "tracing_layer",
        "hooks",
        "blocking_pool",
        "allocator",
        "door",
        "console",
        "api_access",
    ] {
        let line = printed.lines().find(|line| line.split_whitespace().nth(1) == Some(what));
        let line = line.unwrap_or_else(|| panic!("{what} is not in\n{printed}"));
        assert!(line.starts_with("good"), "{line}");
    }
    assert!(printed.contains("doctor::names::specimen::{{closure}}"), "{printed}");
    assert!(!printed.contains('\u{1b}'), "no colours where there is no terminal");
    wait("the log has the line", || server.log().contains("doctor: "));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("doctor: ")).expect("a line");
    assert!(line.contains(" good") && line.contains("see /debug/doctor"), "{line}");
    assert_eq!(log.matches("doctor: ").count(), 1, "{log}");

    let Output { stdout, .. } = doctor(&door, &["--json"]);
    let json: Value = serde_json::from_slice(&stdout).expect("JSON");
    assert_eq!(json["findings"][0]["what"], "tokio_unstable");
}

#[test]
fn the_form_is_what_was_asked_for() {
    let server = Server::start();
    let url = server.diagnostics("/debug/doctor");
    let json = get(&url);
    assert_eq!(json.header("content-type"), "application/json");
    let finding = &json.json()["findings"][0];
    assert_eq!((&finding["state"], &finding["mend"]), (&"good".into(), &Value::Null));
    let by_name = get(&format!("{url}?format=text"));
    let accepted = answer(agent().get(&url).header("accept", "text/plain").call().expect("sent"));
    for told in [by_name, accepted] {
        assert_eq!(told.header("content-type"), "text/plain; charset=utf-8");
        assert!(told.text.starts_with("good     tokio_unstable"), "{}", told.text);
    }
    for (query, parts) in
        [("format=xml", ["`xml`", "json, text"]), ("seconds=1", ["`seconds`", "format"])]
    {
        let refused = get(&format!("{url}?{query}"));
        assert_eq!(refused.status, 400, "{}", refused.text);
        assert!(parts.iter().all(|part| refused.text.contains(part)), "{}", refused.text);
    }
}

#[test]
fn what_is_bad_is_exit_code_2() {
    let lost = Thermograph::builder()
        .listen((Ipv4Addr::LOCALHOST, 0))
        .console(ConsoleMode::Off)
        .heap(HeapMode::Always)
        .build()
        .expect("valid");
    let door = lost.serve().expect("opened");
    let Output { status, stdout, .. } = doctor(&door.address().to_string(), &[]);
    let printed = text(&stdout);
    assert_eq!(status.code(), Some(2), "{printed}");
    let line = printed.lines().find(|line| line.starts_with("bad")).expect("a line");
    assert!(line.contains("allocator") && line.contains("heap = \"always\""), "{line}");
    assert!(printed.contains("mend: in Cargo.toml: tikv-jemallocator"), "{printed}");
}

#[test]
fn an_app_that_put_nothing_on_is_told_what_to_put_on() {
    let bare = Thermograph::builder()
        .listen((Ipv4Addr::LOCALHOST, 0))
        .console(ConsoleMode::Always)
        .stacks(Stacks::Off)
        .build()
        .expect("valid");
    for (what, mend) in [
        ("tracing_layer", "thermograph.tracing_layer()"),
        ("hooks", "thermograph.hooks().install("),
        ("allocator", "tikv-jemallocator = { version = \"0.7\", features = [\"profiling\"] }"),
        ("console", "diagnostics.console = \"on-attach\""),
        ("stall_stacks", "diagnostics.stacks = \"auto\""),
    ] {
        let finding = finding(&bare, what);
        assert_eq!(finding.state, State::Warning, "{finding:?}");
        assert!(finding.mend.as_ref().is_some_and(|line| line.contains(mend)), "{finding:?}");
    }
}

fn quiet() -> Thermograph {
    let builder = Thermograph::builder().listen((Ipv4Addr::LOCALHOST, 0));
    builder.console(ConsoleMode::Off).build().expect("valid")
}

/// Sends requests to both handlers of [`two_handlers`].
fn drive<S>(app: &S)
where
    S: Service<Request<Body>, Response = Response> + Clone,
    S::Error: std::fmt::Debug,
{
    let runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
    for number in 0..30 {
        let path = ["/one", "/two"][number % 2];
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = runtime.block_on(app.clone().oneshot(request)).expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
    }
}

fn two_handlers() -> Router {
    Router::new().route("/one", on_get(async || "one")).route("/two", on_get(async || "two"))
}

#[test]
fn layer_around_the_router_is_a_warning_and_on_it_is_good() {
    let around = quiet();
    drive(&around.layer().layer(two_handlers()));
    let found = finding(&around, "layer");
    assert_eq!(found.state, State::Warning, "{found:?}");
    assert!(found.says.starts_with("30 of 30 requests matched no route"), "{found:?}");
    let mend = found.mend.expect("a warning has one");
    assert!(mend.contains("on the Router itself, after its routes"), "{mend}");

    let on = quiet();
    drive(&two_handlers().layer(on.layer()));
    let found = finding(&on, "layer");
    assert_eq!((found.state, &*found.says), (State::Good, "30 requests were seen"), "{found:?}");
}

#[test]
fn env_filter_before_the_layer_is_a_warning_and_its_mend_helps() {
    let filtered = quiet();
    let subscriber = registry().with(filtered.tracing_layer()).with(EnvFilter::new("info"));
    let subscriber = Dispatch::new(subscriber);
    let found = finding(&filtered, "tracing_layer");
    drop(subscriber);
    assert_eq!(found.state, State::Warning, "{found:?}");
    for part in ["a filter of the whole subscriber", "spans below INFO cannot be captured"] {
        assert!(found.says.contains(part), "{part}: {found:?}");
    }
    let mend = found.mend.expect("a warning has one");
    let line = ".with(fmt::layer().with_filter(EnvFilter::new(\"info\")))";
    assert!(mend.contains(line), "{mend}");

    // Written as that line says, the filter keeps nothing back.
    let mended = quiet();
    let log = fmt::layer().with_filter(EnvFilter::new("info"));
    let subscriber = Dispatch::new(registry().with(mended.tracing_layer()).with(log));
    let found = finding(&mended, "tracing_layer");
    drop(subscriber);
    assert!(!found.says.contains("filter") && !found.says.contains("INFO"), "{found:?}");
}

#[test]
fn bad_flags_and_nobody_there_are_explained() {
    let Output { status, stderr, .. } = doctor("127.0.0.1:1", &[]);
    assert_eq!(status.code(), Some(1));
    assert!(text(&stderr).contains("is the service running?"), "{}", text(&stderr));
    let Output { status, stderr, .. } = doctor("127.0.0.1:1", &["--seconds=1"]);
    assert_eq!(status.code(), Some(2));
    assert!(text(&stderr).contains("unexpected argument '--seconds'"), "{}", text(&stderr));
}

#[test]
fn memory_without_jemalloc_is_404_with_the_lines_to_add() {
    let thermograph = Thermograph::builder()
        .listen((Ipv4Addr::LOCALHOST, 0))
        .console(ConsoleMode::Off)
        .build()
        .expect("valid");
    let door = thermograph.serve().expect("opened");
    for path in ["/debug/pprof/heap", "/debug/pprof/allocs?seconds=1&format=svg"] {
        let refused = get(&format!("http://{}{path}", door.address()));
        assert_eq!((refused.status, refused.header("x-go-pprof")), (404, "1"), "{}", refused.text);
        for part in [
            "the program's allocator is not jemalloc",
            "in Cargo.toml: tikv-jemallocator = { version = \"0.7\", features = [\"profiling\"] }",
            "#[global_allocator] static ALLOCATOR: tikv_jemallocator::Jemalloc",
            "#[unsafe(export_name = \"_rjem_malloc_conf\")]",
        ] {
            assert!(refused.text.contains(part), "{part} is not in {}", refused.text);
        }
    }
}

#[test]
fn the_program_captures_its_own_memory() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let mut capture: Command = thermograph();
    let url = server.diagnostics("");
    capture.current_dir(&folder).args(["capture", "heap", "--seconds", "2", "--url", &url]);
    let output = crate::support::under_load(&server, || capture.output().expect("it runs"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for file in printed.lines() {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    let picture = printed.lines().last().expect("a picture");
    let picture = std::fs::read_to_string(folder.path().join(picture)).expect("readable");
    assert!(picture.contains("Memory in use"), "{picture}");
}

#[test]
fn a_bad_value_of_heap_stops_the_start() {
    let mut check = thermograph();
    check.args(["serve", "--check"]).env("THERMOGRAPH_DIAGNOSTICS_HEAP", "sometimes");
    let Output { status, stderr, .. } = check.output().expect("it runs");
    let said = text(&stderr);
    assert_eq!(status.code(), Some(1), "{said}");
    for part in ["diagnostics.heap = \"sometimes\"", "on-demand", "always", "off"] {
        assert!(said.contains(part), "{said}");
    }
}
