//! `thermograph perf`: the machine's own profiler beside ours.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{MODEL, Server, send, thermograph, wait};

/// The program in a folder of its own, with this checkout's model.
fn perf(folder: &TempDir, args: &[&str]) -> Command {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(MODEL);
    let mut command = thermograph();
    command.current_dir(folder).env("MODEL_DIR", model).arg("perf").args(args);
    command
}

fn run(command: &mut Command) -> (bool, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.success(), text(stdout), text(stderr))
}

/// Whether the perf of this machine records anything.
fn is_there() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let mut probe = Command::new("perf");
    probe.current_dir(&folder).args(["record", "--quiet", "--", "true"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// A folder with a program of the name `perf`, that of a shell script.
fn stand_in(script: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("perf");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(program, executable).expect("executable");
    folder
}

#[test]
fn perf_and_our_own_capture_tell_the_same_of_one_window() {
    let folder = tempfile::tempdir().expect("a folder");
    let (is_success, printed, said) = run(&mut perf(&folder, &["--seconds", "8"]));
    if !is_there() {
        // Then it says what to do, and starts nothing.
        assert!(!is_success && said.contains("perf "), "{said}");
        assert!(said.contains("install") || said.contains("perf_event_paranoid"), "{said}");
        return;
    }
    assert!(is_success, "{said}");
    assert!(printed.contains(", 0 errors, "), "{printed}");
    // The matrix kernel is the hottest function of both, with about the same share.
    let row =
        printed.lines().find(|line| line.contains("rten_gemm::") && line.contains("::kernel"));
    let row = row.unwrap_or_else(|| panic!("{printed}"));
    let numbers: Vec<f64> =
        row.split_whitespace().filter_map(|cell| cell.parse().ok()).take(2).collect();
    let [theirs, ours] = numbers[..] else { panic!("{row}") };
    assert!(theirs > 10.0 && ours > 10.0, "{printed}");
    assert!((theirs - ours).abs() < 10.0, "they do not tell the same: {printed}");
    let counts = printed.split("self time over one window: ").nth(1).unwrap_or_default();
    let counts: Vec<u64> =
        counts.split_whitespace().filter_map(|word| word.parse().ok()).take(2).collect();
    let [of_perf, of_ours] = counts[..] else { panic!("{printed}") };
    assert!(of_perf.abs_diff(of_ours) < of_ours / 2, "{printed}");
    assert!(printed.contains("POST /v1/embeddings is hot"), "{printed}");

    let mut command = thermograph();
    let listing = command.current_dir(&folder).args(["captures", "--json"]).output();
    let listing: Value = serde_json::from_slice(&listing.expect("it runs").stdout).expect("JSON");
    let captures = listing["captures"].as_array().expect("a list");
    let kinds: Vec<_> = captures.iter().map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("perf"), Some("cpu")], "{listing}");
    for capture in captures {
        assert_eq!(capture["handler"], "embeddings");
        assert_eq!(capture["time"], captures[0]["time"], "not of one window");
        assert_eq!(capture["files"].as_array().map(Vec::len), Some(3), "{capture}");
    }
    let file = |at: usize| {
        let path = captures[0]["files"][at].as_str().expect("a path");
        std::fs::read_to_string(folder.path().join(path)).expect("text")
    };
    let (text, svg) = (file(1), file(2));
    for part in [">CPU time, by perf</text>", " UTC, 8 s at 99 Hz, ", "rten_gemm::"] {
        assert!(svg.contains(part), "no {part}");
    }
    // The picture leaves machinery out, except where a sample ended in it.
    let machinery = "__rust_begin_short_backtrace";
    let is_leaf = |line: &&str| {
        let leaf = line.rsplit(';').next();
        leaf.is_some_and(|leaf| leaf.contains(machinery))
    };
    let leaves = text.lines().filter(is_leaf).count();
    let titles = svg.split("<title>").skip(1).filter_map(|rest| rest.split("</title>").next());
    let shown = titles.filter(|title| title.contains(machinery)).count();
    assert!(text.contains(machinery) && shown <= leaves, "{shown} of {leaves}: {text}");
    // Both measure the same, and so can be compared.
    let names = [1, 0].map(|at| captures[at]["name"].as_str().expect("a name"));
    let mut command = thermograph();
    let (is_success, _, said) = run(command.current_dir(&folder).arg("diff").args(names));
    assert!(is_success, "{said}");
}

#[test]
fn without_perf_it_says_what_to_install() {
    let (folder, nothing) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (is_success, _, said) = run(perf(&folder, &[]).env("PATH", nothing.path()));
    assert!(!is_success);
    assert!(said.contains("perf is not there: install linux-perf"), "{said}");
}

#[test]
fn without_the_right_it_says_how_to_get_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let forbidden = stand_in("echo 'Access to performance monitoring is limited.' >&2; exit 255");
    let (is_success, _, said) = run(perf(&folder, &[]).env("PATH", forbidden.path()));
    assert!(!is_success);
    assert!(said.contains("sudo sysctl kernel.perf_event_paranoid=1"), "{said}");
    assert!(said.contains("Access to performance monitoring is limited."), "{said}");
}

#[test]
fn a_service_that_runs_needs_its_process_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start();
    let (api, diagnostics) = (server.api(""), server.diagnostics(""));
    let stand_in = stand_in("exit 0");
    let url = ["--url", &api, "--diagnostics-url", &diagnostics, "--seconds", "1"];
    let (is_success, _, said) = run(perf(&folder, &url).env("PATH", stand_in.path()));
    assert!(!is_success);
    assert!(said.contains("--url needs --pid"), "{said}");
    for (args, part) in [(&["--pid", "0"][..], "0"), (&["--pid", "7"], "--url")] {
        let (is_success, _, said) = run(perf(&folder, args).env("PATH", stand_in.path()));
        assert!(!is_success && said.contains(part), "{said}");
    }
}

#[test]
fn interrupted_it_ends_perf_too() {
    let folder = tempfile::tempdir().expect("a folder");
    // The probe ends at once, the recording does not.
    let script = "case \"$*\" in *--pid*) echo $$ > started.new; /bin/mv started.new started; \
                  exec /bin/sleep 300;; esac";
    let stand_in = stand_in(script);
    let mut command = perf(&folder, &["--seconds", "300"]);
    command.env("PATH", stand_in.path()).stderr(Stdio::null());
    let mut process = command.spawn().expect("started");
    let started = folder.path().join("started");
    wait("perf runs", || started.exists());
    let perf = std::fs::read_to_string(started).expect("a number");
    let perf = Path::new("/proc").join(perf.trim());
    assert!(perf.exists(), "perf does not run");
    send(&process, Signal::INT);
    assert!(!process.wait().expect("a child").success());
    assert!(!perf.exists(), "perf is still there");
}
