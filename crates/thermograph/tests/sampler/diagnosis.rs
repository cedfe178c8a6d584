//! Every illness has its verdict, with cause, place and what to try; the healthy have none.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use memmap2::{Advice, MmapMut};
use rustix::fs::{MemfdFlags, memfd_create};
use thermograph::{
    Class, Diagnosis, Stacks,
    diagnosis::{Finding, Verdict},
};

use crate::{
    app::{App, HEALTHY, agent, alone, get_text, wait},
    specimens::{self, SPECIMENS, Specimen},
};

/// Calls of each specimen: some may be preempted on a busy machine.
const CALLS: usize = 10;

/// What each specimen is told to do, and a word of what to try.
const CAUSES: [(&str, &str, &str); SPECIMENS.len()] = [
    ("/ill/sleep", "sleeps on the worker", "tokio::time::sleep"),
    ("/ill/mutex", "waits for a mutex", "tokio::sync::Mutex"),
    ("/ill/read", "waits for a file", "spawn_blocking"),
    ("/ill/fsync", "waits until a disk has written", "spawn_blocking"),
    ("/ill/tcp", "waits for a socket that blocks", "tokio::net"),
    ("/ill/getaddrinfo", "resolves a name with getaddrinfo", "lookup_host"),
    ("/ill/burn", "computes", "spawn_blocking"),
    ("/ill/json", "reads or writes a large JSON", "spawn_blocking"),
    ("/ill/argon2", "hashes a password", "pool"),
    ("/ill/block-on", "runs a future to its end on the worker", ".await"),
    ("/ill/recv", "waits for a channel", "tokio::sync::mpsc"),
];

pub(crate) fn diagnosis(app: &App, query: &str) -> Diagnosis {
    let text = get_text(&app.diagnostics(&format!("/debug/diagnosis{query}")));
    serde_json::from_str(&text).expect("a diagnosis")
}

pub(crate) fn verdict<'a>(diagnosis: &'a Diagnosis, route: &str) -> &'a Verdict {
    let found = diagnosis.verdicts.iter().find(|verdict| verdict.route == route);
    found.unwrap_or_else(|| panic!("{route} is not in {diagnosis:#?}"))
}

fn call(app: &App, path: &str) {
    assert_eq!(agent().get(app.url(path)).call().expect("an answer").status(), 200, "{path}");
}

fn assert_cause(diagnosis: &Diagnosis, specimen: &Specimen, what: &str, remedy: &str) {
    let verdict = verdict(diagnosis, specimen.path);
    assert_eq!(verdict.verdict, Finding::Blocking, "{verdict:#?}");
    // A specimen may do something else as well, such as drop what it has read, and a stall whose stack
    // was not taken is a cause of its own.
    let mut causes = verdict.causes.iter().filter(|cause| cause.what == what);
    let cause = causes.clone().find(|cause| !cause.stack.is_empty()).or_else(|| causes.next());
    let cause = cause.unwrap_or_else(|| panic!("{what} is not in {verdict:#?}"));
    assert!(cause.r#try.contains(remedy), "{cause:#?}");
    assert_eq!(cause.class, Some(specimen.class), "{cause:#?}");
    let syscall = cause.syscall.as_deref();
    assert_eq!(syscall.is_some(), specimen.class == Class::Blocked, "{cause:#?}");
    assert!(syscall.is_none_or(|syscall| specimen.syscalls.contains(&syscall)), "{cause:#?}");
    let own: Vec<_> = cause.stack.iter().filter(|frame| frame.own).collect();
    let is_it = |name: &str| name.trim_end_matches("::{{closure}}").ends_with(specimen.function);
    assert!(own.iter().any(|frame| is_it(&frame.function) && frame.line > 0), "{cause:#?}");
    let at = cause.at.as_ref().expect("a place");
    assert!(at.own && at.file.contains("tests/sampler/"), "{at:?}");
}

/// Whether its cause is told, with its function.
fn has_its_cause(diagnosis: &Diagnosis, specimen: &Specimen, what: &str) -> bool {
    verdict(diagnosis, specimen.path).causes.iter().any(|cause| {
        let mut functions = cause.stack.iter().map(|frame| &frame.function);
        cause.what == what && functions.any(|function| function.contains(specimen.function))
    })
}

#[test]
fn every_illness_has_its_verdict_and_the_healthy_have_none() {
    let _alone = alone();
    let app = App::start(specimens::router());
    for path in HEALTHY {
        (0..CALLS).for_each(|_| call(&app, &path.replace("{name}", "a")));
    }
    for (specimen, (_, what, _)) in SPECIMENS.iter().zip(CAUSES) {
        // Until the cause has a stack: that of a poll which waits for short times may be missed.
        wait(specimen.path, || {
            (0..CALLS).for_each(|_| call(&app, specimen.path));
            app.stalls_of(specimen.path, 1);
            has_its_cause(&diagnosis(&app, ""), specimen, what)
        });
    }
    let diagnosis = diagnosis(&app, "");
    for (specimen, (path, what, remedy)) in SPECIMENS.iter().zip(CAUSES) {
        assert_eq!(specimen.path, path);
        assert_cause(&diagnosis, specimen, what, remedy);
    }
    for path in HEALTHY {
        let verdict = verdict(&diagnosis, path);
        assert_ne!(verdict.verdict, Finding::Blocking, "{verdict:#?}");
    }
    assert_eq!(diagnosis.worst(), Finding::Blocking);
}

/// Touches memory that the kernel has to give it page by page.
#[inline(never)]
fn touch_new_memory() {
    const PAGES: usize = 4096;
    let until = Instant::now() + Duration::from_millis(60);
    while Instant::now() < until {
        let mut memory = MmapMut::map_anon(PAGES * 4096).expect("mapped");
        // Some systems have huge pages everywhere.
        memory.advise(Advice::NoHugePage).expect("advised");
        for byte in memory.iter_mut().step_by(4096) {
            *byte = 1;
        }
        std::hint::black_box(&memory);
    }
}

#[test]
fn handler_that_touches_new_memory_is_told_its_page_faults() {
    let _alone = alone();
    let touches = async || {
        touch_new_memory();
        std::hint::black_box(());
    };
    let app = App::start(Router::new().route("/touches", get(touches)));
    (0..CALLS).for_each(|_| call(&app, "/touches"));
    let stalls = app.stalls_of("/touches", CALLS);
    let faulting = stalls.iter().filter(|stall| stall.page_faults).count();
    println!("{faulting} of {} stalls", stalls.len());
    // A machine that is busier than when a page fault was measured takes longer for all else, too.
    assert!(faulting * 2 >= stalls.len(), "{stalls:#?}");
    let diagnosis = diagnosis(&app, "");
    let causes = &verdict(&diagnosis, "/touches").causes;
    let cause = causes.iter().find(|cause| cause.what.contains("(page faults)"));
    let cause = cause.unwrap_or_else(|| panic!("{causes:#?}"));
    let at = cause.at.as_ref().expect("a place");
    assert!(at.function.ends_with("diagnosis::touch_new_memory") && at.line > 0, "{cause:#?}");
    assert!(cause.r#try.contains("use them again"), "{cause:#?}");
}

/// Reads a large file that is in memory, in one system call.
#[inline(never)]
fn read_at_once(file: &File, bytes: &mut [u8]) {
    file.read_exact_at(bytes, 0).expect("read");
    // Work afterwards, which is none of the call's.
    std::hint::black_box(
        bytes.iter().step_by(4096).fold(0, |sum: u8, byte| sum.wrapping_add(*byte)),
    );
}

#[test]
fn handler_that_computes_in_a_system_call_is_shown_in_it() {
    // Some 20 ms and more.
    const SIZE: usize = 512 << 20;
    let _alone = alone();
    let file = memfd_create("large", MemfdFlags::CLOEXEC).expect("a file");
    let file = File::from(file);
    file.set_len(SIZE as u64).expect("made large");
    let shared = Arc::new((file, Mutex::new(vec![1; SIZE])));
    let reads = move || {
        let shared = Arc::clone(&shared);
        async move {
            let (file, bytes) = &*shared;
            read_at_once(file, &mut bytes.lock().expect("no panic"));
        }
    };
    let app = App::start(Router::new().route("/reads", get(reads)));
    (0..CALLS).for_each(|_| call(&app, "/reads"));
    let stalls = app.stalls_of("/reads", CALLS);
    let in_call = stalls
        .iter()
        .filter(|stall| stall.stack.first().is_some_and(|leaf| leaf.function.contains("pread")));
    let in_call = in_call.count();
    println!("{in_call} of {} stalls", stalls.len());
    assert!(in_call * 10 >= stalls.len() * 8, "{stalls:#?}");
    let diagnosis = diagnosis(&app, "");
    let causes = &verdict(&diagnosis, "/reads").causes;
    assert_eq!(causes[0].what, "reads or writes a file", "{causes:#?}");
    let at = causes[0].at.as_ref().expect("a place");
    assert!(at.function.ends_with("diagnosis::read_at_once"), "{causes:#?}");
}

#[test]
fn over_a_window_the_stack_of_a_handler_that_computes_is_of_its_cpu_time() {
    let _alone = alone();
    let app = App::start(specimens::router());
    // Before the window: it is not in it.
    call(&app, "/ill/sleep");
    app.stalls_of("/ill/sleep", 1);
    let diagnosis = thread::scope(|scope| {
        let load = scope.spawn(|| {
            while app.thermograph.stalls().len() < 40 {
                call(&app, "/ill/burn");
            }
        });
        let diagnosis = diagnosis(&app, "?seconds=1");
        load.join().expect("no panic");
        diagnosis
    });
    assert!(diagnosis.fresh && (0.9..60.0).contains(&diagnosis.seconds), "{diagnosis:#?}");
    let burn = verdict(&diagnosis, "/ill/burn");
    assert_eq!(burn.verdict, Finding::Blocking, "{diagnosis:#?}");
    assert!(burn.numbers.cpu_ms > Some(0.0), "{burn:#?}");
    assert!(burn.causes[0].leaves[0].share > 0.0, "{burn:#?}");
    assert!(diagnosis.verdicts.iter().all(|verdict| verdict.route != "/ill/sleep"));
}

#[test]
fn a_diagnosis_is_text_or_a_page_too() {
    let _alone = alone();
    let app = App::start(specimens::router());
    (0..CALLS).for_each(|_| call(&app, "/ill/sleep"));
    app.stalls_of("/ill/sleep", 1);
    let text = get_text(&app.diagnostics("/debug/diagnosis?format=text"));
    assert!(text.contains("GET /ill/sleep is blocking"), "{text}");
    for (accept, begins) in
        [("text/html,*/*", "<!doctype html>"), ("text/plain", "verdict "), ("*/*", "{")]
    {
        let request = agent().get(app.diagnostics("/debug/diagnosis")).header("accept", accept);
        let answer = request.call().expect("an answer").body_mut().read_to_string().expect("text");
        assert!(answer.starts_with(begins), "{accept}: {answer}");
    }
}

#[test]
fn the_last_minutes_are_the_whole_time_of_a_young_process() {
    let _alone = alone();
    let app = App::start(Router::new());
    call(&app, "/healthy/hello");
    for window in ["start", "1m", "5m", "15m"] {
        let text = get_text(&app.diagnostics(&format!("/debug/handlers?window={window}")));
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(report["handlers"][0]["requests"], 1, "{window}: {text}");
    }
    for (path, parts) in [
        ("/debug/handlers?window=2m", ["window", "`2m`", "start, 1m, 5m, 15m"]),
        ("/debug/handlers?window=1m&seconds=1", ["window", "seconds", "cannot be combined"]),
        ("/debug/diagnosis?seconds=0", ["seconds", "`0`", "from 1 to 300"]),
        ("/debug/diagnosis?format=xml", ["format", "`xml`", "json, text, html"]),
        ("/debug/diagnosis?route=x", ["route", "unknown", "seconds, format, force"]),
    ] {
        let answer = agent().get(app.diagnostics(path)).call().expect("an answer");
        let (status, mut answer) = (answer.status(), answer);
        let text = answer.body_mut().read_to_string().expect("text");
        assert_eq!(status, 400, "{path}: {text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{path}: {text}");
    }
}

#[test]
fn handler_that_hands_its_worker_over_is_not_blocking() {
    let _alone = alone();
    let app = App::start(specimens::router());
    (0..CALLS).for_each(|_| call(&app, "/in-place"));
    app.stalls_of("/in-place", CALLS);
    let diagnosis = diagnosis(&app, "");
    let handler = verdict(&diagnosis, "/in-place");
    assert_ne!(handler.verdict, Finding::Blocking, "{handler:#?}");
    let stalls = handler.numbers.stalls;
    assert_eq!((stalls.own(), stalls.in_place + stalls.preempted), (0, CALLS as u64), "{stalls:?}");
    assert!(diagnosis.notes.iter().any(|note| note.contains("block_in_place")), "{diagnosis:#?}");
}

#[test]
fn handler_that_runs_a_program_waits_for_a_child_process() {
    let _alone = alone();
    let app = App::start(specimens::router());
    (0..CALLS).for_each(|_| call(&app, "/ill/output"));
    app.stalls_of("/ill/output", 1);
    let diagnosis = diagnosis(&app, "");
    let causes = &verdict(&diagnosis, "/ill/output").causes;
    assert!(causes[0].what.starts_with("waits for a child process"), "{causes:#?}");
    assert!(causes[0].r#try.contains("tokio::process::Command"), "{causes:#?}");
}

#[test]
fn cause_without_stacks_has_no_place_and_says_why() {
    let _alone = alone();
    let app = App::with(specimens::router(), |builder| builder.stacks(Stacks::Off));
    (0..CALLS).for_each(|_| call(&app, "/ill/sleep"));
    until_ended(&app, CALLS);
    let diagnosis = diagnosis(&app, "");
    let cause = &verdict(&diagnosis, "/ill/sleep").causes[0];
    assert_eq!((&*cause.what, &cause.at), ("sleeps on the worker", &None));
    let why = cause.no_stack.as_deref().expect("told");
    assert!(why.contains("stacks are off") && cause.leaves.is_empty(), "{cause:#?}");
}

/// Waits until so many stalls have ended.
fn until_ended(app: &App, count: usize) {
    wait("stalls have ended", || {
        app.thermograph.stalls().iter().filter(|stall| stall.ended).count() >= count
    });
}
