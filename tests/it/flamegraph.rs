//! The main job, and the clinic.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{MODEL, send, thermograph, wait};

/// `thermograph flamegraph` in a folder of its own, with this checkout's model.
fn flamegraph(folder: &TempDir, args: &[&str]) -> Command {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(MODEL);
    let mut command = thermograph();
    command.current_dir(folder).env("MODEL_DIR", model).arg("flamegraph").args(args);
    command
}

/// Runs it to its end: what it printed.
fn run(mut command: Command) -> String {
    let output = command.output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The newest file whose name ends so; names sort by time.
fn newest(folder: &TempDir, of: &str, ending: &str) -> String {
    let files = std::fs::read_dir(folder.path().join(of)).expect("a folder");
    let paths = files.map(|file| file.expect("a file").path());
    let newest = paths.filter(|path| path.to_string_lossy().ends_with(ending)).max();
    std::fs::read_to_string(newest.expect("a file of that kind")).expect("text")
}

#[test]
fn one_command_ends_with_tables_and_pictures() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = |name: &str| newest(&folder, "flamegraphs", name);
    let names = ["Encoder::infer", "Tokenizer::tokenize", "embeddings::embeddings::{{closure}}"];
    let mut printed = String::new();
    // The handler itself takes half a hundredth of the CPU time: a dozen samples as a rule, but on
    // a busy machine there may be none.
    wait("the picture names the handler and the engine's steps", || {
        printed = run(flamegraph(&folder, &[]));
        let cpu = picture("-cpu-embeddings.svg");
        names.iter().all(|name| cpu.contains(name))
    });
    assert!(printed.contains("POST /v1/embeddings"), "{printed}");
    assert!(printed.contains(", 0 errors, "), "{printed}");
    for kind in ["cpu", "wall", "stalls", "spans"] {
        assert!(printed.contains(&format!("Z-{kind}-embeddings.svg")), "{printed}");
    }
    // Every poll of the service is short; all that it does is done in the handler's name.
    assert!(!printed.contains("is blocking"), "{printed}");
    assert!(printed.contains("POST /v1/embeddings is hot"), "{printed}");
    assert!(printed.contains("% runs a model or a tokenizer, in "), "{printed}");
    assert!(printed.contains("rten_gemm::"), "{printed}");
    let spans = picture("-spans-embeddings.svg");
    for name in ["POST /v1/embeddings", "infer", "tokenize"] {
        assert!(spans.contains(&format!("<title>{name} (")), "no {name} in the picture");
    }
    for kind in ["cpu", "spans"] {
        assert!(!newest(&folder, "profiles", &format!("-{kind}-embeddings.folded")).is_empty());
    }
    // What was captured over one window has one time, and its picture says so.
    let paths = printed.lines().filter(|line| line.ends_with("-embeddings.svg"));
    let times: Vec<_> = paths.filter_map(|line| line.split_once("flamegraphs/")).collect();
    let times: HashSet<_> = times.iter().filter_map(|(_, name)| name.split('-').next()).collect();
    assert_eq!(times.len(), 1, "{printed}");
    let cpu = picture("-cpu-embeddings.svg");
    assert!(cpu.contains(">CPU time</text>") && cpu.contains(" UTC, 15 s at 99 Hz, "), "{cpu}");
}

#[test]
fn interrupted_it_stops_what_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = flamegraph(&folder, &["--seconds", "300"]);
    let mut process = command.stderr(Stdio::null()).spawn().expect("started");
    let children = format!("/proc/{0}/task/{0}/children", process.id());
    let mut service = PathBuf::new();
    wait("the service runs", || {
        let ids = std::fs::read_to_string(&children).expect("Linux tells of children");
        let Some(id) = ids.split_whitespace().next() else { return false };
        service = Path::new("/proc").join(id);
        true
    });
    send(&process, Signal::INT);
    assert!(!process.wait().expect("a child").success());
    assert!(!service.exists(), "the service is still there");
}

#[test]
fn in_the_clinic_ill_handlers_are_told_from_healthy_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let binary = Path::new(env!("CARGO_BIN_EXE_thermograph"));
    let clinic = binary.with_file_name("examples").join("clinic");
    let clinic = clinic.to_str().expect("UTF-8");
    let targets = ["/hello", "/healthy", "/blocking-sleep", "/cpu-burn"];
    let targets = targets.map(|path| format!("GET {path}=1"));
    let mut args = vec!["--seconds=3", "--connections=8", "--program", clinic];
    args.extend(targets.iter().flat_map(|target| ["--target", target]));
    let printed = run(flamegraph(&folder, &args));
    // handler, requests, errors, p50, p99, polls, poll p99, longest, busy
    let longest = |path: &str| -> f64 {
        let row = printed.lines().find(|line| line.starts_with(&format!("GET {path} ")));
        let cells: Vec<_> = row.unwrap_or_else(|| panic!("{printed}")).split_whitespace().collect();
        cells[8].parse().unwrap_or_else(|_| panic!("{printed}"))
    };
    assert!(longest("/blocking-sleep") >= 30.0, "{printed}");
    assert!(longest("/cpu-burn") > longest("/hello"), "{printed}");
    let told = |path: &str| {
        let (_, told) = printed.split_once(&format!("GET {path} is blocking")).unwrap_or_default();
        told.split("\n\n").next().unwrap_or_default()
    };
    let (sleeps, burns) = (told("/blocking-sleep"), told("/cpu-burn"));
    for part in ["clock_nanosleep", "clinic::blocking_sleep", "examples/clinic.rs:", "try tokio"] {
        assert!(sleeps.contains(part), "{printed}");
    }
    assert!(burns.contains("computes") && burns.contains("clinic::burn"), "{printed}");
    for path in ["/hello", "/healthy"] {
        assert!(!printed.contains(&format!("GET {path} is blocking")), "{printed}");
    }
    let picture = |kind: &str| newest(&folder, "flamegraphs", &format!("-{kind}-clinic.svg"));
    for kind in ["cpu", "wall", "stalls"] {
        assert!(picture(kind).contains("clinic::cpu_burn::{{closure}}"), "no cpu_burn in {kind}");
    }
    // Asleep it has no CPU time.
    for kind in ["wall", "stalls"] {
        assert!(picture(kind).contains("clinic::blocking_sleep::{{closure}}"), "not in {kind}");
    }
}
