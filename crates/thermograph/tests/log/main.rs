//! The app's log blocks: the diagnostics go on, and say what the app waits for.
//!
//! In a process of its own, whose one subscriber writes to a pipe.

#![cfg(target_os = "linux")]

#[path = "../sampler/app.rs"]
#[expect(dead_code, unused_imports, reason = "shared with other tests")]
mod app;

use std::{
    io::{BufRead as _, BufReader},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use http::Request;
use thermograph::{Class, Stall};
use tokio::runtime;
use tower::ServiceExt as _;

use crate::app::{App, agent, get_text, wait};

/// Lines that handlers have begun to log, and that the log has taken.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static LOGGED: AtomicU64 = AtomicU64::new(0);

/// Logs 1 KiB a request, as a handler that dumps a body does.
async fn handler() -> &'static str {
    let number = BEGUN.fetch_add(1, SeqCst);
    tracing::info!(number, body = "x".repeat(1024), "request");
    LOGGED.fetch_add(1, SeqCst);
    "logged"
}

/// Requests from so many clients, until they wait for the log.
fn ask_until_blocked(app: &App, clients: usize) -> Vec<thread::JoinHandle<()>> {
    let url = app.url("/logs");
    let ask = move || {
        let agent = agent();
        // More than fit into the pipe.
        for _ in 0..60 {
            assert_eq!(agent.get(&url).call().expect("an answer").status(), 200);
        }
    };
    let clients = (0..clients).map(|_| thread::spawn(ask.clone())).collect();
    wait("both workers wait for the log", || {
        // Started, and not logged for a while.
        app.wake();
        let before = LOGGED.load(SeqCst);
        thread::sleep(Duration::from_millis(200));
        let logged = LOGGED.load(SeqCst);
        logged == before && BEGUN.load(SeqCst) >= logged + 2
    });
    clients
}

/// Stalls of one route as the diagnostics tell of them, from now on.
fn events(app: &App, route: &str) -> impl Iterator<Item = Stall> + use<> {
    let url = app.diagnostics(&format!("/debug/stalls?format=events&route={route}"));
    let answer = agent().get(url).call().expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    BufReader::new(answer.into_body().into_reader()).lines().filter_map(|line| {
        let line = line.expect("a line in time");
        let data = line.strip_prefix("data: ")?;
        Some(serde_json::from_str(data).expect("a stall"))
    })
}

#[inline(never)]
fn sleeps_elsewhere() {
    thread::sleep(Duration::from_millis(50));
    std::hint::black_box(());
}

/// Has a handler of the same app stall on a runtime of its own: every worker waits for the log.
fn stall_elsewhere(app: &App) {
    let router = Router::new()
        .route("/elsewhere", get(async || sleeps_elsewhere()))
        .layer(app.thermograph.layer());
    let runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
    let request = Request::get("/elsewhere").body(Body::empty()).expect("a request");
    let answer = runtime.block_on(router.oneshot(request)).expect("infallible");
    assert_eq!(answer.status(), 200);
}

/// Fails unless both causes are the log's, and none is a lock of the app's own.
fn assert_causes_are_the_log_s(app: &App) {
    let diagnosis = get_text(&app.diagnostics("/debug/diagnosis?format=text"));
    for part in [
        "GET /logs is blocking",
        "waits for the log's lock, in futex",
        "writes the log, and its reader is slow, in write",
    ] {
        assert!(diagnosis.contains(part), "{part}: {diagnosis}");
    }
    assert_eq!(diagnosis.matches("try a writer that never blocks").count(), 2, "{diagnosis}");
    assert!(!diagnosis.contains("tokio::sync::Mutex"), "{diagnosis}");
}

#[test]
fn blocked_log_hides_no_stall_and_loses_no_line() {
    let (read, write) = std::io::pipe().expect("a pipe");
    tracing_subscriber::fmt().with_ansi(false).with_writer(Mutex::new(write)).init();
    let app = App::start(Router::new().route("/logs", get(handler)));
    let clients = ask_until_blocked(&app, 4);

    // One handler waits in write, and one for the lock that the first holds.
    let of_route = || {
        let mut stalls = app.thermograph.stalls();
        stalls.retain(|stall| stall.route == "/logs" && !stall.ended && !stall.stack.is_empty());
        stalls
    };
    wait("both are shown with their stacks", || of_route().len() == 2);
    let mut stalls = of_route();
    stalls.sort_by_key(|stall| stall.syscall.clone());
    let syscalls: Vec<_> = stalls.iter().map(|stall| stall.syscall.as_deref()).collect();
    assert_eq!(syscalls, [Some("futex"), Some("write")], "{stalls:#?}");
    for stall in &stalls {
        assert_eq!(stall.class, Class::Blocked, "{stall}");
        assert!(stall.stack.iter().any(|frame| frame.function.contains("log::handler")), "{stall}");
    }
    // Longer than the diagnostics wait before they warn of a stall themselves.
    wait("the stalls last", || of_route().iter().all(|stall| stall.elapsed_ms > 1500.0));

    // The diagnostics go on: new stalls are named and told, also of other handlers.
    let mut events = events(&app, "/elsewhere");
    // On a busy machine the watchdog may come too late for a stall's stack.
    let told = (0..20).find_map(|_| {
        stall_elsewhere(&app);
        events.find(|stall| stall.ended).filter(|stall| !stall.stack.is_empty())
    });
    let told = told.expect("a stall with a stack");
    assert!(
        told.stack.iter().any(|frame| frame.function.ends_with("log::sleeps_elsewhere")),
        "{told}"
    );
    assert_causes_are_the_log_s(&app);
    assert_eq!(of_route().len(), 2, "the log is blocked as before");
    let doctor = get_text(&app.diagnostics("/debug/doctor?format=text"));
    assert!(doctor.contains("stacks"), "{doctor}");
    let stalls = get_text(&app.diagnostics("/debug/stalls"));
    assert!(stalls.contains("/logs"), "{stalls}");
    let (folded, metrics) = (
        get_text(&app.diagnostics("/debug/pprof/profile?seconds=1&format=folded")),
        get_text(&app.diagnostics("/metrics")),
    );
    assert!(metrics.contains("thermograph_dropped_log_lines_total 0"), "{metrics} {folded}");

    // Read again, the log has every line: the handlers' and the diagnostics'.
    let reader = thread::spawn(move || {
        let lines = BufReader::new(read).lines().map(|line| line.expect("text"));
        let (mut requests, mut warned) = (0, 0);
        for line in lines {
            requests += u64::from(line.contains("body="));
            warned += u64::from(line.contains("blocks a worker") && line.contains("/logs"));
            if requests == 240 && warned > 0 {
                break;
            }
        }
        (requests, warned)
    });
    for client in clients {
        client.join().expect("every request is answered");
    }
    assert_eq!((BEGUN.load(SeqCst), LOGGED.load(SeqCst)), (240, 240));
    let (requests, warned) = reader.join().expect("no panic");
    assert!(requests >= 240 && warned > 0, "{requests} lines of requests, {warned} warnings");
}
