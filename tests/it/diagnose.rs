//! `thermograph diagnose`: the verdict as a program's exit code.

use std::{process::Output, thread};

use serde_json::Value;

use crate::{
    clinic::Clinic,
    support::{Server, thermograph},
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
