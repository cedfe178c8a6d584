//! `thermograph diagnose`: the verdict as a program's exit code.

use std::{
    net::Ipv4Addr,
    process::Output,
    sync::{Barrier, Mutex},
    thread,
};

use axum::{Router, body::Body, http::Request, routing::get};
use serde_json::Value;
use thermograph::{ConsoleMode, Thermograph};
use tokio::runtime;
use tower::ServiceExt as _;

use crate::{
    clinic::Clinic,
    support::{Server, thermograph, wait},
};

fn diagnose(door: &str, args: &[&str]) -> Output {
    let url = format!("http://{door}");
    thermograph().args(["diagnose", "--url", &url]).args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_blocking_handler_is_exit_code_2_where_that_is_asked_for() {
    let clinic = Clinic::open();
    let door = clinic.addresses.diagnostics.to_string();
    let Output { status, stdout, stderr } = thread::scope(|scope| {
        let asking = scope.spawn(|| diagnose(&door, &["--seconds=2", "--fail-on=blocking"]));
        while !asking.is_finished() {
            clinic.visit("/blocking-sleep");
            clinic.visit("/hello");
        }
        asking.join().expect("no panic")
    });
    let printed = text(&stdout);
    assert_eq!(status.code(), Some(2), "{printed}{}", text(&stderr));
    for part in [
        "GET /blocking-sleep is blocking",
        "sleeps on the worker, in clock_nanosleep",
        "clinic::blocking_sleep (",
        "examples/clinic.rs:",
        "try tokio::time::sleep",
        "healthy   GET /hello",
    ] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
    assert!(!printed.contains('\u{1b}'), "no colours where there is no terminal");

    // Over the last minutes, as JSON, and without the wish to fail.
    let Output { status, stdout, .. } = diagnose(&door, &["--seconds=0", "--json"]);
    assert!(status.success());
    let diagnosis: Value = serde_json::from_slice(&stdout).expect("JSON");
    assert_eq!(diagnosis["verdicts"][0]["verdict"], "blocking");
    assert_eq!(diagnosis["verdicts"][0]["route"], "/blocking-sleep");
    assert!(diagnosis["verdicts"][0]["numbers"]["harm_ms"].is_number(), "the clinic has hooks");
}

#[inline(never)]
fn lock_both(first: &Mutex<u64>, meet: &Barrier, second: &Mutex<u64>) {
    let mut first = first.lock().expect("no panic");
    meet.wait();
    *first += *second.lock().expect("no panic");
}

#[test]
fn deadlock_is_exit_code_2_with_both_handlers_and_their_locks() {
    let builder = Thermograph::builder().listen((Ipv4Addr::LOCALHOST, 0)).console(ConsoleMode::Off);
    let diagnostics = builder.build().expect("valid");
    let door = diagnostics.serve().expect("opened");
    let locks: &(u64, Mutex<u64>, Mutex<u64>) = Box::leak(Box::default());
    let meet: &Barrier = Box::leak(Box::new(Barrier::new(2)));
    let app = Router::new()
        .route("/left", get(async || lock_both(&locks.1, meet, &locks.2)))
        .route("/right", get(async || lock_both(&locks.2, meet, &locks.1)))
        .layer(diagnostics.layer());
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).build();
    let runtime = runtime.expect("a runtime");
    // Not over the network: a blocked worker may be the one that waits for it.
    for path in ["/left", "/right"] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        runtime.spawn(app.clone().oneshot(request));
    }
    wait("both have a holder", || {
        let stalls = diagnostics.stalls();
        let locks = stalls.iter().filter_map(|stall| stall.lock.as_ref());
        locks.filter(|lock| lock.holder.is_some()).count() == 2
    });

    let door = door.address().to_string();
    let Output { status, stdout, stderr } = diagnose(&door, &["--seconds=1", "--fail-on=blocking"]);
    let printed = text(&stdout);
    assert_eq!(status.code(), Some(2), "{printed}{}", text(&stderr));
    let told = printed.lines().find(|line| line.contains("probable deadlock: "));
    let told = told.unwrap_or_else(|| panic!("not told: {printed}"));
    for part in [
        "GET /left waits for a std::sync::Mutex at 0x",
        "held by GET /right in ",
        "GET /right waits for a std::sync::Mutex at 0x",
        "held by GET /left in ",
        "diagnose::lock_both (",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    // Its workers never end.
    std::mem::forget(runtime);
}

#[test]
fn the_service_itself_blocks_nobody() {
    let server = Server::start();
    server.embed(&serde_json::json!({ "model": crate::support::MODEL, "input": "a text" }));
    let door = server.addresses.diagnostics.to_string();
    let Output { status, stdout, .. } = diagnose(&door, &["--seconds=0", "--fail-on=blocking"]);
    assert!(status.success(), "{}", text(&stdout));
    assert!(text(&stdout).contains("POST /v1/embeddings"), "{}", text(&stdout));
}

#[test]
fn bad_flags_name_the_value_and_what_is_allowed() {
    for (args, parts) in
        [(["--fail-on=sick"], ["'sick'", "blocking, hot"]), (["--seconds=301"], ["301", "0..=300"])]
    {
        let Output { status, stderr, .. } = diagnose("127.0.0.1:1", &args);
        let said = text(&stderr);
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    let Output { status, stderr, .. } = diagnose("127.0.0.1:1", &["--seconds=0"]);
    assert_eq!(status.code(), Some(1));
    assert!(text(&stderr).contains("is the service running?"), "{}", text(&stderr));
}
