//! `thermograph diagnose`: the verdict as a program's exit code.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
};

use serde_json::Value;
use thermograph::app::serve::Addresses;

use crate::support::{Server, get, thermograph, wait};

/// The clinic, until dropped.
struct Clinic {
    child: Child,
    addresses: Addresses,
}

impl Clinic {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("addresses.json");
        let binary = Path::new(env!("CARGO_BIN_EXE_thermograph"));
        let any = "127.0.0.1:0";
        let child = Command::new(binary.with_file_name("examples").join("clinic"))
            .args(["--listen", any, "--diagnostics-listen", any, "--console-listen", any])
            .arg("--addresses-file")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        wait("the clinic is open", || file.exists());
        let addresses = std::fs::read(&file).expect("a file");
        Self { child, addresses: serde_json::from_slice(&addresses).expect("addresses") }
    }

    fn visit(&self, path: &str) {
        assert_eq!(get(&format!("http://{}{path}", self.addresses.api)).status, 200, "{path}");
    }
}

impl Drop for Clinic {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
