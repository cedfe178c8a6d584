use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{causes::RULES, evidence::Evidence, *};
use crate::diagnostics::{Frame, Location, Sample, watch::Quantiles};

const OWN: &str = "/home/me/app/src/main.rs";
const LIBRARY: &str = "/home/me/.cargo/registry/src/x/library-1.0.0/src/lib.rs";

/// What a handler cost in ten seconds.
fn row(route: &str) -> HandlerRow {
    HandlerRow {
        method: "GET".to_owned(),
        route: route.to_owned(),
        requests: 1000,
        by_class: [0, 1000, 0, 0, 0],
        in_flight: 0,
        cancelled: 0,
        cut: 0,
        head_ms: Quantiles::default(),
        total_ms: Quantiles::default(),
        polls: 1000,
        poll_ms: Quantiles { p50: 0.1, p90: 0.2, p99: 0.3, max: 0.4 },
        busy_ms: 100.0,
        busy_share: 0.01,
        worker_share: 0.01,
        cpu_share: None,
        blocked_share: None,
        stalls: StallCounts::default(),
        stalled_ms: 0.0,
        harm_ms: None,
    }
}

fn stalled(route: &str, own: u64, stalled_ms: f64) -> HandlerRow {
    let stalls = StallCounts { blocked: own, ..StallCounts::default() };
    HandlerRow { stalls, stalled_ms, ..row(route) }
}

/// Frames are `name` of the app, or `name @ library`, the leaf first.
fn sample(route: Option<&str>, labels: &[(&'static str, &str)], ms: i64, stack: &[&str]) -> Sample {
    let location = |text: &&str| {
        let (name, file) = match text.split_once(" @ ") {
            Some((name, _)) => (name, LIBRARY),
            None => (*text, OWN),
        };
        let file = file.to_owned();
        Arc::new(Location::named(Frame { file, line: 7, ..Frame::named(name) }))
    };
    let of_handler = route.map(|route| [("route", route), ("method", "GET")]);
    let labels = of_handler.iter().flatten().chain(labels);
    Sample {
        stack: stack.iter().map(location).collect(),
        values: vec![1, ms * 1_000_000],
        labels: labels.map(|(name, value)| (*name, (*value).to_owned())).collect(),
    }
}

fn profile(samples: Vec<Sample>) -> Profile {
    Profile {
        values: Vec::new(),
        samples,
        start: SystemTime::now(),
        duration: Duration::from_secs(10),
        period: None,
        dropped: 0,
    }
}

fn diagnose(rows: Vec<HandlerRow>, stalls: Vec<Sample>, cpu: Option<Vec<Sample>>) -> Diagnosis {
    let ledger = LedgerReport { seconds: 10.0, handlers: rows, overflowed: 0 };
    let (stalls, cpu) = (profile(stalls), cpu.map(profile));
    Diagnosis::of(&Exhibits { ledger: &ledger, stalls: &stalls, cpu: cpu.as_ref() })
}

fn findings(diagnosis: &Diagnosis) -> Vec<(Finding, &str)> {
    diagnosis.verdicts.iter().map(|verdict| (verdict.verdict, &*verdict.route)).collect()
}

#[test]
fn the_worst_comes_first() {
    let hot = HandlerRow { worker_share: 0.8, busy_share: 0.9, ..row("/hot") };
    let harmful = HandlerRow { harm_ms: Some(900.0), ..stalled("/harmful", 10, 300.0) };
    let rows = vec![row("/hello"), hot, stalled("/blocks", 10, 500.0), harmful];
    let diagnosis = diagnose(rows, Vec::new(), None);
    let expected = [
        (Finding::Blocking, "/harmful"),
        (Finding::Blocking, "/blocks"),
        (Finding::Hot, "/hot"),
        (Finding::Healthy, "/hello"),
    ];
    assert_eq!(findings(&diagnosis), expected);
    assert_eq!(diagnosis.worst(), Finding::Blocking);
    assert!(diagnosis.notes[0].contains("seconds=10"), "{:?}", diagnosis.notes);
    assert_eq!(diagnose(Vec::new(), Vec::new(), None).worst(), Finding::Healthy);
}

#[test]
fn one_stall_in_a_long_while_is_no_verdict() {
    let verdict = |own, ms| diagnose(vec![stalled("/a", own, ms)], Vec::new(), None).worst();
    // A thousandth of ten seconds; one in a hundred of a thousand requests.
    assert_eq!(verdict(1, 9.9), Finding::Healthy);
    assert_eq!(verdict(1, 10.0), Finding::Blocking);
    assert_eq!(verdict(9, 9.9), Finding::Healthy);
    assert_eq!(verdict(10, 9.9), Finding::Blocking);
}

#[test]
fn what_the_machine_did_is_nobody_s_fault_and_is_noted() {
    let stalls = StallCounts { preempted: 500, ..StallCounts::default() };
    let row = HandlerRow { stalls, ..row("/a") };
    let preempted = sample(Some("/a"), &[("class", "preempted")], 900, &["app::a"]);
    let diagnosis = diagnose(vec![row], vec![preempted], None);
    assert_eq!(diagnosis.worst(), Finding::Healthy);
    assert!(diagnosis.verdicts[0].causes.is_empty());
    assert!(diagnosis.notes[0].starts_with("500 polls"), "{:?}", diagnosis.notes);
}

#[test]
fn a_blocking_handler_has_its_causes_with_place_and_remedy() {
    let class = |class, syscall| [("class", class), ("syscall", syscall)];
    let sleep = class("blocked", "clock_nanosleep");
    let stack = ["clock_nanosleep @ l", "std::thread::sleep @ l", "app::lazy::{{closure}}"];
    let stalls = vec![
        sample(Some("/a"), &sleep, 50, &stack),
        sample(Some("/a"), &sleep, 100, &stack),
        sample(Some("/a"), &[("class", "cpu")], 50, &["app::count", "app::work"]),
        sample(Some("/a"), &[("class", "preempted")], 800, &["app::count"]),
        sample(Some("/b"), &[("class", "cpu")], 800, &["app::other"]),
    ];
    let diagnosis = diagnose(vec![stalled("/a", 10, 200.0)], stalls, None);
    let [sleeps, computes] = &*diagnosis.verdicts[0].causes else { panic!("{diagnosis:?}") };
    assert_eq!((&*sleeps.what, sleeps.share), ("sleeps on the worker", 0.75));
    assert_eq!((&*computes.what, computes.share), ("computes", 0.25));
    let at = sleeps.at.as_ref().expect("known");
    assert_eq!((&*at.function, &*at.file, at.line), ("app::lazy::{{closure}}", OWN, 7));
    assert!(sleeps.r#try.contains("tokio::time::sleep"), "{sleeps:?}");
    assert_eq!(
        sleeps.stack.iter().map(|frame| frame.own).collect::<Vec<_>>(),
        [false, false, true]
    );
    let text = diagnosis.text(|_, word| word.to_owned());
    for part in [
        "GET /a is blocking: it held a worker 10 times, for 20.0 ms on average",
        "75 % sleeps on the worker, in clock_nanosleep",
        "at app::lazy (app/src/main.rs:7)",
        "and 2 frames of libraries",
        "try tokio::time::sleep(…).await instead of std::thread::sleep",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let page = diagnosis.html();
    assert!(
        page.contains("GET /a is blocking") && page.contains("app::lazy::{{closure}}"),
        "{page}"
    );
}

#[test]
fn a_hot_handler_is_known_by_its_cpu_time_wherever_it_is_spent() {
    let cpu = vec![
        sample(Some("/a"), &[], 6_000, &["app::multiply", "app::infer"]),
        sample(Some("/a"), &[], 1_000, &["serde_json::ser @ l", "app::encode"]),
        sample(Some("/b"), &[], 1_500, &["app::b"]),
        sample(None, &[("thread", "pool-1")], 100, &["app::other"]),
    ];
    let diagnosis = diagnose(vec![row("/b"), row("/a")], Vec::new(), Some(cpu));
    // Of 8.5 s that handlers took in 10 s.
    assert_eq!(findings(&diagnosis), [(Finding::Hot, "/a"), (Finding::Healthy, "/b")]);
    let causes: Vec<_> = diagnosis.verdicts[0].causes.iter().map(|cause| &*cause.what).collect();
    assert_eq!(causes, ["computes", "reads or writes a large JSON"]);
    assert_eq!(diagnosis.verdicts[0].numbers.cpu_ms, Some(7_000.0));
    assert!(diagnosis.fresh && diagnosis.notes.is_empty(), "{:?}", diagnosis.notes);
}

#[test]
fn cpu_time_of_no_handler_is_noted_where_it_is_much() {
    let cpu = vec![
        sample(Some("/a"), &[], 1_000, &["app::a"]),
        sample(None, &[("thread", "pool-1")], 2_000, &["app::multiply"]),
        sample(None, &[("thread", "pool-2")], 1_000, &["app::multiply"]),
    ];
    let diagnosis = diagnose(vec![row("/a")], Vec::new(), Some(cpu));
    let note = &diagnosis.notes[0];
    assert!(note.starts_with("75 %") && note.contains("`pool`") && note.contains("app::multiply"));
}

/// The rule for a stack; the handler's poll and what is below it do not count.
fn rule(class: &str, syscall: Option<&str>, stack: &[&str]) -> String {
    let mut labels = vec![("class", class)];
    labels.extend(syscall.map(|syscall| ("syscall", syscall)));
    // `labels` lives as long as this function: names of classes and calls are not kept.
    let polls = ["app::handler", "thermograph::diagnostics::watch::poll", "Runtime::block_on"];
    let stack: Vec<_> = stack.iter().chain(&polls).copied().collect();
    let sample = sample(Some("/a"), &labels, 1, &stack);
    let profile = profile(vec![sample]);
    Evidence::of(&profile, "GET", "/a").causes(1).remove(0).what
}

#[test]
fn each_rule_is_known_by_a_stack_of_its_own() {
    let blocked = [
        ("clock_nanosleep", "std::thread::sleep", "sleeps on the worker"),
        ("clock_nanosleep", "usleep", "sleeps on the worker"),
        (
            "poll",
            "std::sys::net::connection::socket::lookup_host",
            "resolves a name with getaddrinfo",
        ),
        (
            "futex",
            "futures_executor::local_pool::block_on",
            "runs a future to its end on the worker",
        ),
        ("read", "rusqlite::statement::Statement::step", "asks a database by a client that blocks"),
        ("wait4", "app::run", "waits for a child process"),
        ("poll", "std::process::Child::wait_with_output", "waits for a child process"),
        ("futex", "std::thread::JoinInner<T>::join", "waits for a thread to end"),
        ("futex", "std::sync::mpsc::Receiver<T>::recv", "waits for a message of a channel"),
        (
            "futex",
            "std::sys::sync::condvar::futex::Condvar::wait",
            "waits for a condition variable",
        ),
        (
            "futex",
            "std::sys::sync::rwlock::futex::RwLock::read_contended",
            "waits for a read-write lock",
        ),
        (
            "futex",
            "std::sys::sync::once::futex::Once::call",
            "waits for a value that another thread makes once",
        ),
        ("futex", "std::sys::sync::mutex::futex::Mutex::lock_contended", "waits for a mutex"),
        ("futex", "app::wait", "waits for another thread"),
        (
            "write",
            "<std::io::stdio::Stdout as std::io::Write>::write",
            "writes to a terminal or pipe that is slow",
        ),
        ("fsync", "std::fs::File::sync_all", "waits until a disk has written"),
        ("flock", "std::fs::File::lock", "waits for the lock of a file"),
        (
            "read",
            "<std::net::tcp::TcpStream as std::io::Read>::read",
            "waits for a socket that blocks",
        ),
        ("recvfrom", "app::receive", "waits for a socket that blocks"),
        ("socket", "socket2::sys::socket", "waits for the table of open files to grow"),
        ("accept4", "mio::sys::unix::tcp::accept", "waits for the table of open files to grow"),
        ("mmap", "_rjem_je_pages_map", "waits for the map of the memory"),
        ("read", "std::fs::read::inner", "waits for a file"),
        ("read", "app::read", "waits for a file or a pipe"),
        ("epoll_wait", "app::poll", "waits for file descriptors"),
        ("mount", "app::mount", "waits in a system call"),
    ];
    let computing = [
        ("argon2::Argon2::fill_blocks", "hashes a password"),
        ("core::hint::spin_loop", "spins for a lock"),
        ("rten_gemm::kernels::gemm", "runs a model or a tokenizer"),
        ("regex::regex::string::Regex::new", "compiles a regular expression"),
        ("regex_automata::meta::regex::Regex::search", "matches a regular expression"),
        ("serde_json::ser::to_vec", "reads or writes a large JSON"),
        ("rmp_serde::encode::write", "encodes or decodes a large message"),
        ("flate2::zio::run", "compresses or decompresses"),
        ("sha2::sha256::compress", "encrypts, signs or hashes"),
        ("image::imageops::resize", "works on an image"),
        ("std::fs::read::inner", "reads or writes a file"),
        ("std::process::Command::spawn", "starts a process"),
        (
            "<mio::net::tcp::stream::TcpStream as std::io::Write>::write_vectored",
            "sends a large body at once",
        ),
        ("munmap", "gives much memory back"),
        ("core::slice::sort::stable::drift::sort", "sorts"),
        ("app::count", "computes"),
    ];
    let mut seen: Vec<_> = blocked
        .iter()
        .map(|(syscall, name, what)| (rule("blocked", Some(syscall), &[name]), *what))
        .chain(computing.iter().map(|(name, what)| (rule("cpu", None, &[name]), *what)))
        .collect();
    for (found, expected) in &seen {
        assert_eq!(found, expected);
    }
    seen.dedup();
    let all: std::collections::BTreeSet<_> = RULES.iter().map(|rule| rule.what).collect();
    let tested: std::collections::BTreeSet<_> = seen.iter().map(|(_, what)| *what).collect();
    assert_eq!(tested, all, "every rule has a stack here");
}

#[test]
fn who_waits_does_what_is_nearest_to_the_system_call() {
    // A lock that is taken inside of a callback of a channel.
    let mutex = "std::sys::sync::mutex::futex::Mutex::lock_contended";
    assert_eq!(rule("blocked", Some("futex"), &[mutex, "std::sync::mpsc::f"]), "waits for a mutex");
    // Who computes does what is most special, though it is made of other things.
    let stack = ["blake2::compress", "argon2::hash"];
    assert_eq!(rule("cpu", None, &stack), "hashes a password");
}

#[test]
fn a_verdict_is_a_word() {
    for finding in Finding::ALL {
        assert_eq!(finding.name().parse(), Ok(finding));
    }
    let error = "sick".parse::<Finding>().expect_err("no verdict");
    assert!(error.contains("`sick`") && error.contains("blocking, hot, healthy"), "{error}");
}

#[test]
fn function_that_computes_is_the_innermost_inlined_one_of_the_app() {
    let frame = |name: &str, file: &str| {
        Arc::new(Frame { file: file.to_owned(), line: 7, ..Frame::named(name) })
    };
    // At one address, the innermost first, as debug information tells it of an optimized build.
    let location = Location {
        address: 1,
        mapping: None,
        frames: vec![
            frame("core::num::<impl u64>::rotate_left", "/rustc/1/library/core/src/num/mod.rs"),
            frame("clinic::burn", OWN),
            frame("clinic::cpu_burn::{{closure}}", OWN),
            frame("<F as axum::handler::Handler<((),),S>>::call", LIBRARY),
        ],
    };
    let inlined = Sample {
        stack: vec![Arc::new(location)],
        ..sample(Some("/a"), &[("class", "cpu")], 50, &[])
    };
    let diagnosis = diagnose(vec![stalled("/a", 10, 200.0)], vec![inlined], None);
    let cause = &diagnosis.verdicts[0].causes[0];
    assert_eq!(cause.leaves, [Leaf { function: "clinic::burn".to_owned(), share: 1.0 }]);
    assert_eq!(cause.at.as_ref().map(|at| &*at.function), Some("clinic::burn"));
    let text = diagnosis.text(|_, word| word.to_owned());
    assert!(text.contains("in clinic::burn (100 %)"), "{text}");
}
