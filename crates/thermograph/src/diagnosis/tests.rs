use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use thermograph_profile::{Frame, Location, Sample};

use super::{causes::RULES, evidence::Evidence, *};
use crate::handlers::{Arrival, DelayRow, LatencyParts, Quantiles};

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
        arrival: Arrival::Unknown,
        measured: 0,
        estimated: 0,
        latency: LatencyParts::default(),
        polls: 1000,
        poll_ms: Quantiles { p50: 0.1, p90: 0.2, p99: 0.3, max: 0.4 },
        busy_ms: 100.0,
        busy_share: 0.01,
        worker_share: 0.01,
        cpu_share: None,
        blocked_share: None,
        stalls: StallCounts::default(),
        waits: Vec::new(),
        stalled_ms: 0.0,
        unknown_ms: 0.0,
        holding: Holding::default(),
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
    diagnose_with(rows, Vec::new(), stalls, cpu)
}

fn diagnose_with(
    rows: Vec<HandlerRow>,
    delays: Vec<DelayRow>,
    stalls: Vec<Sample>,
    cpu: Option<Vec<Sample>>,
) -> Diagnosis {
    let ledger = LedgerReport {
        seconds: 10.0,
        handlers: rows,
        overflowed: 0,
        threshold_ms: 10.0,
        delays,
        unlisted_delay_ms: 0.0,
    };
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
    cause(&labels, stack)
}

/// The cause of a stall with these labels.
fn cause(labels: &[(&'static str, &str)], stack: &[&str]) -> String {
    let polls = ["app::handler", "thermograph::watch::poll", "Runtime::block_on"];
    let stack: Vec<_> = stack.iter().chain(&polls).copied().collect();
    let sample = sample(Some("/a"), labels, 1, &stack);
    let profile = profile(vec![sample]);
    Evidence::of(&profile, "GET", "/a").causes(1).remove(0).what
}

/// Names as they are in the sources of the crates, in the legacy or the v0 mangling; those of std
/// are tried on compiled programs, in `causes/tests`.
#[expect(clippy::too_many_lines, reason = "one case for each rule of the table")]
#[test]
fn each_rule_is_known_by_a_stack_of_its_own() {
    let blocked = [
        ("clock_nanosleep", "std::thread::functions::sleep", "sleeps on the worker"),
        (
            "poll",
            "std::sys::net::connection::socket::lookup_host",
            "resolves a name with getaddrinfo",
        ),
        (
            "futex",
            "<tracing_subscriber::fmt::fmt_layer::Layer<S, N, E, W> as tracing_subscriber::layer::Layer<S>>::on_event",
            "waits for the log's lock",
        ),
        (
            "futex",
            "<tracing_appender::non_blocking::NonBlocking as std::io::Write>::write",
            "waits for the log's lock",
        ),
        ("write", "env_logger::logger::Logger::log", "writes the log, and its reader is slow"),
        (
            "write",
            "<std::io::stdio::Stdout as std::io::Write>::write",
            "writes the log, and its reader is slow",
        ),
        ("read", "<std::io::stdio::Stdin>::read_line", "waits for the standard input"),
        (
            "futex",
            "reqwest::blocking::client::ClientHandle::execute_request",
            "asks over HTTP by a client that blocks",
        ),
        (
            "recvfrom",
            "<ureq::run::call as core::ops::Fn>::call",
            "asks over HTTP by a client that blocks",
        ),
        ("read", "rusqlite::statement::Statement::step", "asks a database by a client that blocks"),
        ("fsync", "sqlite3_step", "asks a database by a client that blocks"),
        (
            "poll",
            "<diesel::pg::connection::PgConnection as diesel::connection::Connection>::batch_execute",
            "asks a database by a client that blocks",
        ),
        (
            "futex",
            "<r2d2::Pool<app::Manager>>::get_timeout",
            "asks a database by a client that blocks",
        ),
        (
            "futex",
            "futures_executor::local_pool::block_on",
            "runs a future to its end on the worker",
        ),
        ("futex", "pollster::block_on::<app::Work>", "runs a future to its end on the worker"),
        (
            "epoll_wait",
            "<tokio::runtime::handle::Handle>::block_on::<app::main::{closure#0}>",
            "runs a future to its end on the worker",
        ),
        (
            "futex",
            "tokio::runtime::runtime::Runtime::block_on",
            "runs a future to its end on the worker",
        ),
        ("wait4", "app::run", "waits for a child process"),
        ("poll", "<std::process::Command>::output", "waits for a child process"),
        ("read", "<std::process::Command>::spawn", "waits for a child process to start"),
        ("futex", "std::thread::join_handle::JoinHandle<T>::join", "waits for a thread to end"),
        (
            "futex",
            "rayon_core::registry::Registry::in_worker_cold",
            "waits for work on a pool of threads",
        ),
        ("futex", "std::sync::mpsc::Receiver<T>::recv", "waits for a channel"),
        ("futex", "<crossbeam_channel::channel::Sender<u8>>::send", "waits for a channel"),
        ("futex", "<std::sync::barrier::Barrier>::wait", "waits for other threads at a barrier"),
        (
            "futex",
            "<std::sys::sync::condvar::futex::Condvar>::wait",
            "waits for a condition variable",
        ),
        (
            "futex",
            "<std::sys::sync::rwlock::futex::RwLock>::read_contended",
            "waits for a read-write lock",
        ),
        (
            "futex",
            "once_cell::imp::initialize_or_wait",
            "waits for a value that another thread makes once",
        ),
        ("futex", "<std::sys::sync::mutex::futex::Mutex>::lock_contended", "waits for a mutex"),
        ("futex", "parking_lot::raw_mutex::RawMutex::lock_slow", "waits for a mutex"),
        ("futex", "std::thread::functions::park", "parks its thread"),
        ("futex", "app::wait", "waits for another thread"),
        ("msgrcv", "app::receive", "waits for a message or a semaphore of another process"),
        ("io_uring_enter", "<io_uring::Submitter>::submit_and_wait", "waits for an io_uring"),
        ("rt_sigtimedwait", "sigwait", "waits for a signal"),
        (
            "splice",
            "std::sys::io::kernel_copy::linux::sendfile_splice",
            "waits for a file or a pipe",
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
        ("<argon2::Argon2>::fill_blocks", "hashes a password"),
        ("<std::backtrace::Backtrace>::create", "takes backtraces"),
        ("backtrace::symbolize::gimli::resolve", "takes backtraces"),
        ("std::panicking::panic_with_hook", "unwinds after a panic"),
        ("core::hint::spin_loop", "spins for a lock"),
        ("<spin::mutex::spin::SpinMutex<u8>>::lock", "spins for a lock"),
        ("core::sync::atomic::AtomicBool::load", "spins on an atomic"),
        ("<core::sync::atomic::AtomicU64>::fetch_add", "changes an atomic that threads share"),
        ("std::time::Instant::now", "reads the clock over and over"),
        ("rten_gemm::kernels::gemm", "runs a model or a tokenizer"),
        ("candle_core::cpu_backend::matmul", "runs a model or a tokenizer"),
        ("regex::regex::string::Regex::new", "compiles a regular expression"),
        ("<regex::regex::string::Regex>::new", "compiles a regular expression"),
        ("regex_automata::meta::regex::Regex::search", "matches a regular expression"),
        ("serde_json::ser::to_vec", "reads or writes a large JSON"),
        (
            "<serde_json::de::Deserializer<serde_json::read::StrRead>>::parse_whitespace",
            "reads or writes a large JSON",
        ),
        ("tera::renderer::processor::Processor::render", "renders a template or a document"),
        ("rmp_serde::encode::write", "encodes or decodes a large message"),
        ("base64::engine::Engine::encode", "encodes or decodes base64 or hex"),
        ("flate2::zio::run", "compresses or decompresses"),
        ("zstd_safe::CCtx::compress_stream2", "compresses or decompresses"),
        ("ZSTD_compressBlock_fast", "compresses or decompresses"),
        ("sha2::sha256::compress", "encrypts, signs or hashes"),
        (
            "<sha2::core_api::Sha256VarCore as digest::core_api::UpdateCore>::update_blocks",
            "encrypts, signs or hashes",
        ),
        ("ring_core_0_17_14__sha256_block_data_order_avx", "encrypts, signs or hashes"),
        ("image::imageops::resize", "works on an image"),
        ("ndarray::linalg::impl_linalg::mat_mul_impl", "multiplies matrices"),
        ("sqlite3VdbeExec", "asks a database in the process"),
        ("tracing_subscriber::fmt::format::Format<F,T>::format_event", "writes the log"),
        ("std::fs::read::inner", "reads or writes a file"),
        ("<std::process::Command>::spawn", "starts a process"),
        ("std::thread::builder::Builder::spawn_unchecked", "starts a thread"),
        (
            "<mio::net::tcp::stream::TcpStream as std::io::Write>::write_vectored",
            "sends a large body at once",
        ),
        ("munmap", "gives much memory back"),
        ("core::slice::sort::stable::drift::sort", "sorts"),
        ("core::ptr::drop_in_place<app::Tree>", "drops a large structure"),
        (
            "core::ptr::drop_in_place::<alloc::vec::Vec<serde_json::Value>>",
            "drops a large structure",
        ),
        ("core::fmt::write", "formats text"),
        ("core::num::dec2flt::parse::parse_number", "parses numbers or text"),
        ("core::str::pattern::TwoWaySearcher::next", "searches or changes text"),
        ("hashbrown::raw::RawTable<T,A>::reserve_rehash", "looks up or fills a map"),
        ("__memmove_avx_unaligned_erms", "copies or fills memory"),
        ("_int_malloc", "allocates and frees memory"),
        ("_rjem_je_arena_malloc_hard", "allocates and frees memory"),
        ("app::count", "computes"),
    ];
    let mut seen: Vec<_> = blocked
        .iter()
        .map(|(syscall, name, what)| (rule("blocked", Some(syscall), &[name]), *name, *what))
        .chain(computing.iter().map(|(name, what)| (rule("cpu", None, &[name]), *name, *what)))
        .collect();
    seen.push((cause(&IN_PAGE_FAULTS, &["app::touch"]), "app::touch", PAGE_FAULTS));
    for (found, name, expected) in &seen {
        assert_eq!(found, expected, "{name}");
    }
    seen.dedup();
    let all: std::collections::BTreeSet<_> = RULES.iter().map(|rule| rule.what).collect();
    let tested: std::collections::BTreeSet<_> = seen.iter().map(|(_, _, what)| *what).collect();
    assert_eq!(tested, all, "every rule has a stack here");
}

#[test]
fn app_modules_called_like_a_crate_are_not_that_crate() {
    for name in ["app::regex::scan", "app::image::resize", "<app::toml::Reader>::read", "zstdlike"]
    {
        assert_eq!(rule("cpu", None, &[name]), "computes", "{name}");
    }
    assert_eq!(rule("blocked", Some("futex"), &["app::Mutex::lock"]), "waits for another thread");
}

#[test]
fn waiting_thread_does_what_the_innermost_own_function_calls() {
    let library = |name: &str| format!("{name} @ l");
    let mutex = &*library("<std::sys::sync::mutex::futex::Mutex>::lock_contended");
    let condvar = &*library("<std::sys::sync::condvar::futex::Condvar>::wait");
    let waits = |stack: &[&str]| rule("blocked", Some("futex"), stack);
    // What is taken in a callback is the callback's.
    let channel = &*library("std::sync::mpsc::Receiver<T>::recv");
    assert_eq!(waits(&[mutex, "app::callback", channel]), "waits for a mutex");
    // What a library waits for inside is what the library is for.
    assert_eq!(waits(&[mutex, channel, "app::callback"]), "waits for a channel");
    let barrier = &*library("<std::sync::barrier::Barrier>::wait");
    assert_eq!(waits(&[condvar, barrier]), "waits for other threads at a barrier");
    // Below what the app calls, nearest first.
    let block_on = &*library("futures_executor::local_pool::block_on");
    let wait = &*library("app_of_no_rule::wait");
    assert_eq!(
        waits(&[wait, "app::poll", block_on, "app::outer", channel]),
        "runs a future to its end on the worker"
    );
}

#[test]
fn lock_or_pipe_of_the_log_is_the_log_s() {
    let library =
        |names: &[&str]| names.iter().map(|name| format!("{name} @ l")).collect::<Vec<_>>();
    let mutex = "<std::sys::sync::mutex::futex::Mutex>::lock_contended";
    let fmt = "<tracing_subscriber::fmt::fmt_layer::Layer<S,N,E,W> as \
               tracing_subscriber::layer::Layer<S>>::on_event";
    let event = "tracing_core::event::Event::dispatch";
    for (syscall, leaf, what) in [
        ("futex", mutex, "waits for the log's lock"),
        ("futex", "parking_lot::raw_mutex::RawMutex::lock_slow", "waits for the log's lock"),
        (
            "futex",
            "crossbeam_channel::flavors::array::Channel<T>::send",
            "waits for the log's lock",
        ),
        (
            "write",
            "<std::sys::fd::unix::FileDesc>::write",
            "writes the log, and its reader is slow",
        ),
    ] {
        let log = library(&[leaf, fmt, event]);
        let stack: Vec<_> = log.iter().map(String::as_str).collect();
        assert_eq!(rule("blocked", Some(syscall), &stack), what, "{leaf}");
        // A writer of the app's own stands in between.
        let own: Vec<_> = [stack[0], "<app::Writer as std::io::Write>::write"]
            .into_iter()
            .chain(stack[1..].iter().copied())
            .collect();
        assert_eq!(rule("blocked", Some(syscall), &own), what, "{leaf}");
    }
    let remedy = RULES.iter().find(|rule| rule.what == "waits for the log's lock");
    let remedy = remedy.expect("a rule").remedy;
    assert!(remedy.contains("non_blocking") && !remedy.contains("tokio::sync"), "{remedy}");
}

#[test]
fn computing_thread_does_what_is_most_special() {
    let stack = ["blake2::compress", "argon2::hash"];
    assert_eq!(rule("cpu", None, &stack), "hashes a password");
    // A type in angle brackets is not what runs.
    let drops = "core::ptr::drop_in_place<alloc::vec::Vec<regex::regex::string::Regex>>";
    assert_eq!(rule("cpu", None, &["cfree", drops, "app::handler"]), "drops a large structure");
    // An atomic counts where the thread stands at it, not where it is far below.
    let atomic = "core::sync::atomic::AtomicBool::load";
    assert_eq!(rule("cpu", None, &["app::count", atomic]), "computes");
}

const IN_PAGE_FAULTS: [(&str, &str); 2] = [("class", "cpu"), ("page_faults", "true")];
const PAGE_FAULTS: &str = "uses memory for the first time (page faults)";

#[test]
fn page_faults_are_the_cause_unless_a_call_is_more_special() {
    for (stack, what) in [
        (&["app::touch"][..], PAGE_FAULTS),
        (&["__memset_avx512_unaligned_erms @ l", "app::fill"], PAGE_FAULTS),
        (&["std::fs::read @ l", "app::load"], "reads or writes a file"),
    ] {
        assert_eq!(cause(&IN_PAGE_FAULTS, stack), what, "{stack:?}");
    }
    assert_eq!(rule("cpu", None, &["app::touch"]), "computes");
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

#[test]
fn cause_without_a_stack_says_why_and_has_no_place() {
    let labels = |class, syscall, why| [("class", class), ("syscall", syscall), ("no_stack", why)];
    let blocked = labels("blocked", "clock_nanosleep", "off");
    let stand_in = ["[clock_nanosleep]", "GET /a"];
    let stalls = vec![sample(Some("/a"), &blocked, 100, &stand_in)];
    let diagnosis = diagnose(vec![stalled("/a", 10, 200.0)], stalls, None);
    let [cause] = &*diagnosis.verdicts[0].causes else { panic!("{diagnosis:?}") };
    assert_eq!((&*cause.what, &cause.at), ("sleeps on the worker", &None));
    assert!(cause.leaves.is_empty() && cause.stack.is_empty(), "{cause:?}");
    let why = cause.no_stack.as_deref().expect("told");
    assert!(why.starts_with("no stack was taken: stacks are off"), "{why}");
    let text = diagnosis.text(|_, word| word.to_owned());
    assert!(text.contains(why) && !text.contains("[clock_nanosleep]"), "{text}");
    assert!(diagnosis.html().contains("stacks are off"), "{}", diagnosis.html());

    // Of some only, and for more than one reason.
    let stalls = vec![
        sample(Some("/a"), &[("class", "cpu")], 100, &["serde_json::to_vec @ l"]),
        sample(Some("/a"), &[("class", "cpu"), ("no_stack", "ended")], 30, &["[cpu]", "GET /a"]),
        sample(Some("/a"), &[("class", "cpu"), ("no_stack", "no_room")], 20, &["[cpu]", "GET /a"]),
    ];
    let diagnosis = diagnose(vec![stalled("/a", 10, 200.0)], stalls, None);
    let [json, computes] = &*diagnosis.verdicts[0].causes else { panic!("{diagnosis:?}") };
    assert_eq!((&json.no_stack, &*computes.what), (&None, "computes"));
    let why = computes.no_stack.as_deref().expect("told");
    for part in ["ended before its stack was taken", "more different stacks than are kept"] {
        assert!(why.contains(part), "{why}");
    }
    assert_eq!(computes.at, None);
}

#[test]
fn worker_that_was_handed_over_makes_no_verdict() {
    let in_place = [("class", "blocked"), ("syscall", "clock_nanosleep"), ("in_place", "true")];
    let stack = [
        "clock_nanosleep @ l",
        "std::thread::functions::sleep @ l",
        "app::save",
        "tokio::task::blocking::block_in_place @ l",
        "app::handler",
    ];
    let moved = |ms| {
        let mut stalls = sample(Some("/a"), &in_place, ms, &stack);
        stalls.values[0] = 10;
        vec![stalls]
    };
    // Its stacks have got their names by this diagnosis only, or were known before.
    let known = StallCounts { in_place: 10, ..StallCounts::default() };
    let known = HandlerRow { stalls: known, ..row("/a") };
    for row in [stalled("/a", 10, 300.0), known] {
        let diagnosis = diagnose(vec![row], moved(300), None);
        assert_eq!(diagnosis.worst(), Finding::Healthy, "{diagnosis:?}");
        let Numbers { stalls, stalled_ms, .. } = diagnosis.verdicts[0].numbers;
        assert_eq!((stalls.own(), stalls.in_place, stalled_ms), (0, 10, 0.0));
        let told = &diagnosis.verdicts[0].summary;
        assert!(told.contains("handed their worker over with block_in_place"), "{told}");
        let note = &diagnosis.notes[0];
        assert!(note.contains("10 of GET /a") && note.contains("max_blocking_threads"), "{note}");
    }
    // What it does besides is told as ever.
    let mut stalls = moved(300);
    stalls.push(sample(Some("/a"), &[("class", "cpu")], 50, &["app::count"]));
    let diagnosis = diagnose(vec![stalled("/a", 11, 350.0)], stalls, None);
    let [cause] = &*diagnosis.verdicts[0].causes else { panic!("{diagnosis:?}") };
    assert_eq!(
        (diagnosis.worst(), &*cause.what, cause.share),
        (Finding::Blocking, "computes", 1.0)
    );
}

#[test]
fn victims_are_told_with_latency_parts_and_whose_stalls_they_waited_for() {
    let delay = |route: &str, by: &str, ms| DelayRow {
        method: "GET".to_owned(),
        route: route.to_owned(),
        by_method: "GET".to_owned(),
        by_route: by.to_owned(),
        waits: 10,
        ms,
    };
    let latency = LatencyParts { whole_ms: 5000.0, waiting_ms: 4000.0, ..LatencyParts::default() };
    let head_ms = Quantiles { p50: 0.1, p90: 50.0, p99: 77.0, max: 80.0 };
    let arrival = Arrival::Measured;
    let hello = HandlerRow { head_ms, arrival, latency, ..row("/hello") };
    let rows = vec![hello, stalled("/burn", 10, 500.0), stalled("/lock", 10, 300.0), row("/idle")];
    let delays = vec![
        delay("/hello", "/lock", 1000.0),
        delay("/burn", "/burn", 50.0),
        delay("/hello", "/burn", 3000.0),
    ];
    let diagnosis = diagnose_with(rows, delays, Vec::new(), None);
    let told: Vec<_> = diagnosis
        .victims
        .iter()
        .map(|victim| (&*victim.route, victim.delayed_ms, &*victim.from[0].route))
        .collect();
    assert_eq!(told, [("/hello", 4000.0, "/burn"), ("/burn", 50.0, "/burn")]);
    let text = diagnosis.text(|_, word| word.to_owned());
    let line = text.lines().find(|line| line.starts_with("GET /hello ") && line.contains("77.0"));
    let cells: Vec<_> = line.unwrap_or_else(|| panic!("{text}")).split_whitespace().collect();
    assert_eq!(cells[2..6], ["1000", "50.0", "77.0", "4.00"], "{text}");
    assert!(text.contains("GET /burn (75 %), GET /lock (25 %)"), "{text}");
    assert!(diagnosis.html().contains("GET /burn (75 %)"));
    // Three handlers count from their first poll.
    let note = diagnosis.notes.last().expect("a note");
    assert!(
        note.starts_with("latency of 3 handlers does not count from a measured arrival"),
        "{note}"
    );
}

/// A handler whose polls of 7 ms wait in a system call for so many workers.
fn waits(route: &str, workers: f64) -> HandlerRow {
    HandlerRow {
        poll_ms: Quantiles { p50: 7.0, p90: 7.1, p99: 7.3, max: 8.0 },
        waits: vec![Wait { syscall: "clock_nanosleep".to_owned(), workers }],
        worker_share: workers.max(0.01),
        busy_ms: workers * 10_000.0,
        ..row(route)
    }
}

#[test]
fn short_waits_that_take_workers_are_blocking_with_and_without_cpu_time() {
    for cpu in [None, Some(Vec::new())] {
        let diagnosis = diagnose(vec![waits("/a", 1.9), row("/b")], Vec::new(), cpu);
        let expected = [(Finding::Blocking, "/a"), (Finding::Healthy, "/b")];
        assert_eq!(findings(&diagnosis), expected);
        let verdict = &diagnosis.verdicts[0];
        assert_eq!(
            verdict.summary,
            "1.90 workers waited in its short polls on average: sleeps on the worker, for short \
             times (7.10 ms each, below the threshold of 10.0 ms)"
        );
        let [cause] = &*verdict.causes else { panic!("{verdict:?}") };
        assert_eq!((cause.syscall.as_deref(), cause.share), (Some("clock_nanosleep"), 1.0));
        assert!(cause.r#try.contains("tokio::time::sleep"), "{cause:?}");
    }
}

#[test]
fn short_waits_need_a_twentieth_of_a_worker_outside_of_stalls() {
    let verdict = |row| diagnose(vec![row], Vec::new(), None).worst();
    assert_eq!(verdict(waits("/a", 0.049)), Finding::Healthy);
    assert_eq!(verdict(waits("/a", 0.05)), Finding::Blocking);
    // Stalls are judged by their own rule, and these are of an unknown class.
    let stalls = StallCounts { unknown: 50, ..StallCounts::default() };
    let of_stalls =
        HandlerRow { stalls, stalled_ms: 500.0, unknown_ms: 500.0, ..waits("/a", 0.05) };
    assert_ne!(verdict(of_stalls), Finding::Blocking);
}

#[test]
fn short_waits_and_stalls_share_the_causes_by_their_time() {
    let labels = [("class", "cpu")];
    let stalls = vec![sample(Some("/a"), &labels, 1_000, &["app::count"])];
    let row = HandlerRow { stalls: stalled("/a", 10, 1_000.0).stalls, ..waits("/a", 0.4) };
    let diagnosis = diagnose(vec![HandlerRow { stalled_ms: 1_000.0, ..row }], stalls, None);
    let [waits, computes] = &*diagnosis.verdicts[0].causes else { panic!("{diagnosis:?}") };
    assert!((waits.share - 0.75).abs() < 1e-9 && (computes.share - 0.25).abs() < 1e-9);
    assert_eq!((&*computes.what, computes.class), ("computes", Some(Class::Cpu)));
}

#[cfg(sampler)]
#[test]
fn stalls_of_an_unknown_class_make_no_verdict_and_are_noted() {
    let stalls = StallCounts { unknown: 500, ..StallCounts::default() };
    let unknown = HandlerRow { stalls, stalled_ms: 5_000.0, unknown_ms: 5_000.0, ..row("/a") };
    let diagnosis = diagnose(vec![unknown.clone()], Vec::new(), None);
    assert_eq!(diagnosis.worst(), Finding::Healthy);
    assert!(diagnosis.notes[0].starts_with("500 polls"), "{:?}", diagnosis.notes);
    // Ten others of a known class do.
    let stalls = StallCounts { cpu: 10, ..stalls };
    let known = HandlerRow { stalls, stalled_ms: 5_200.0, ..unknown };
    assert_eq!(diagnose(vec![known], Vec::new(), None).worst(), Finding::Blocking);
}

#[test]
fn handler_that_holds_workers_now_is_told_so() {
    let holding = |workers, longest_ms| Holding { workers, longest_ms };
    let summary = |holding, own, ms| {
        let row = HandlerRow { holding, ..stalled("/a", own, ms) };
        diagnose(vec![row], Vec::new(), None).verdicts.remove(0).summary
    };
    let text = summary(holding(1, 3_500.0), 1, 1_000.0);
    assert_eq!(text, "it holds a worker now, for 3.5 s: no stack shows why");
    let text = summary(holding(2, 3_500.0), 2, 2_000.0);
    assert_eq!(text, "it holds 2 workers now, the longest for 3.5 s: no stack shows why");
    let text = summary(holding(1, 50.0), 5, 200.0);
    let expected = "it holds a worker now, for 50.0 ms; it held a worker 5 times, for 40.0 ms on \
                    average and 40.0 ms at most: no stack shows why";
    assert_eq!(text, expected);
}

#[test]
fn handler_is_hot_by_the_same_figures_with_and_without_cpu_time() {
    let hot = || HandlerRow { worker_share: 0.8, busy_share: 0.9, ..row("/hot") };
    let cpu = vec![sample(Some("/hot"), &[], 50, &["app::a"])];
    for cpu in [None, Some(cpu)] {
        assert_eq!(diagnose(vec![hot()], Vec::new(), cpu).worst(), Finding::Hot);
    }
}
