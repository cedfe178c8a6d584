//! Work that no hook and no layer tells of: a worker that it keeps is noticed all the same.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use hyper_util::rt::TokioIo;
use thermograph::{Class, Stall, Thermograph, diagnosis::Finding};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    app::{App, PATIENCE, agent, alone, get_text, wait},
    diagnosis::{diagnosis, verdict},
    specimens::burn,
};

const NOT_INSTRUMENTED: &str = "(not instrumented)";
const BLOCK: Duration = Duration::from_millis(60);

#[inline(never)]
fn sleeps_outside() {
    thread::sleep(BLOCK);
    std::hint::black_box("slept outside");
}

#[inline(never)]
fn burns_outside() {
    burn(BLOCK);
    std::hint::black_box("burnt outside");
}

/// Spawns a task that blocks; its handler is over at once.
fn router() -> Router {
    let sleep = async || drop(tokio::spawn(async { sleeps_outside() }));
    let burn = async || drop(tokio::spawn(async { burns_outside() }));
    Router::new().route("/spawns-sleep", get(sleep)).route("/spawns-burn", get(burn))
}

fn outside(thermograph: &Thermograph) -> Vec<Stall> {
    let mut stalls = thermograph.stalls();
    stalls.retain(|stall| stall.route == NOT_INSTRUMENTED);
    stalls
}

fn is_in(stall: &Stall, function: &str) -> bool {
    stall.stack.iter().any(|frame| frame.function.contains(function))
}

/// Until the workers' threads are known, and the place of a task's number.
fn wait_until_known(app: &App) {
    wait("every worker is known", || {
        // Requests that come one after the other may all be served by one worker.
        app.with_healthy_load(|| thread::sleep(Duration::from_millis(50)));
        get_text(&app.diagnostics("/debug/doctor?format=text"))
            .contains("2 workers are watched outside of handlers, without names of tasks")
    });
}

#[test]
fn spawned_task_that_blocks_is_found_without_hooks() {
    let _alone = alone();
    let app = App::start(router());
    wait_until_known(&app);
    for (path, function) in
        [("/spawns-sleep", "outside::sleeps_outside"), ("/spawns-burn", "outside::burns_outside")]
    {
        let before = outside(&app.thermograph).len();
        for _ in 0..20 {
            assert_eq!(agent().get(app.url(path)).call().expect("answered").status(), 200);
            thread::sleep(BLOCK * 3 / 2);
        }
        wait("the stalls have ended", || outside(&app.thermograph).iter().all(|stall| stall.ended));
        let mut found = outside(&app.thermograph);
        found.truncate(found.len() - before);
        let right = found.iter().filter(|stall| is_in(stall, function)).count();
        println!("{path}: {right} of 20 found with their stack, {} in all", found.len());
        assert!(right >= 15, "{path}: {found:#?}");
        let class = if path.ends_with("sleep") { Class::Blocked } else { Class::Cpu };
        let classes = found.iter().filter(|stall| stall.class == class).count();
        assert!(classes * 10 >= found.len() * 8, "{path}: {found:#?}");
    }
    let diagnosis = diagnosis(&app, "");
    let verdict = verdict(&diagnosis, NOT_INSTRUMENTED);
    assert_eq!(verdict.verdict, Finding::Blocking, "{verdict:#?}");
    let at = verdict.causes[0].at.as_ref().expect("a place");
    // Of two causes, either may be the greater one.
    assert!(at.own && at.file.contains("tests/sampler/"), "{verdict:#?}");
}

/// Upgrades the connection, as for a WebSocket, and sleeps on the worker for each byte that comes.
async fn upgrade(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut connection = TokioIo::new(upgrade.await.expect("upgraded"));
        let mut byte = [0];
        while connection.read_exact(&mut byte).await.is_ok() {
            sleeps_outside();
            connection.write_all(&byte).await.expect("written");
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// A connection that was upgraded.
fn upgraded(app: &App) -> TcpStream {
    let mut connection = TcpStream::connect(app.address).expect("connected");
    connection.set_nodelay(true).expect("an option");
    connection.set_read_timeout(Some(PATIENCE)).expect("an option");
    let request =
        "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    connection.write_all(request.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    connection
}

#[test]
fn upgraded_connection_that_blocks_is_found_without_hooks() {
    let _alone = alone();
    let app = App::start(Router::new().route("/upgrade", get(upgrade)));
    wait_until_known(&app);
    let mut connection = upgraded(&app);
    for byte in 0..20 {
        connection.write_all(&[byte]).expect("sent");
        let mut echo = [u8::MAX];
        connection.read_exact(&mut echo).expect("an answer");
        assert_eq!(echo, [byte]);
    }
    wait("the stalls have ended", || outside(&app.thermograph).iter().all(|stall| stall.ended));
    let found = outside(&app.thermograph);
    // A poll goes on if the next byte arrives before the task waits for it.
    let right = found.iter().filter(|stall| is_in(stall, "outside::sleeps_outside"));
    let right: f64 = right.map(|stall| stall.elapsed_ms).sum();
    println!("{right:.0} of 1200 ms found with their stack, in {} stalls", found.len());
    assert!(right >= 900.0, "{found:#?}");
    let blocked = found.iter().filter(|stall| stall.class == Class::Blocked).count();
    assert!(blocked * 10 >= found.len() * 8, "{found:#?}");
    let diagnosis = diagnosis(&app, "");
    let numbers = &verdict(&diagnosis, NOT_INSTRUMENTED).numbers;
    let longest = found.iter().map(|stall| stall.elapsed_ms).fold(0.0, f64::max);
    assert!(numbers.longest_ms >= longest * 0.93, "{longest} ms: {numbers:#?}");
}

/// An app whose workers are known, with a handler that moves its worker.
fn app_in_place() -> App {
    let in_place = async || tokio::task::block_in_place(|| thread::sleep(BLOCK));
    let app = App::start(router().route("/in-place", get(in_place)));
    wait_until_known(&app);
    app
}

#[test]
fn worker_that_block_in_place_moves_is_followed() {
    let _alone = alone();
    let app = app_in_place();
    for _ in 0..20 {
        assert_eq!(agent().get(app.url("/in-place")).call().expect("answered").status(), 200);
    }
    // Threads that were workers wait in the blocking pool now.
    thread::sleep(BLOCK * 5);
    let found = outside(&app.thermograph);
    assert!(found.is_empty(), "{found:#?}");
    wait_until_known(&app);
    for _ in 0..20 {
        assert_eq!(agent().get(app.url("/spawns-sleep")).call().expect("answered").status(), 200);
        thread::sleep(BLOCK * 3 / 2);
    }
    let found = outside(&app.thermograph);
    let right = found.iter().filter(|stall| is_in(stall, "outside::sleeps_outside")).count();
    assert!(right >= 15, "{right} of 20: {found:#?}");
    assert_eq!(right, found.len(), "{found:#?}");
}

#[test]
fn task_that_blocks_is_found_while_block_in_place_moves_workers() {
    let _alone = alone();
    let app = app_in_place();
    let ask = |path| agent().get(app.url(path)).call().expect("answered").status();
    thread::scope(|scope| {
        scope.spawn(|| (0..40).for_each(|_| assert_eq!(ask("/in-place"), 200)));
        for _ in 0..20 {
            assert_eq!(ask("/spawns-sleep"), 200);
            thread::sleep(BLOCK * 2);
        }
    });
    let found = outside(&app.thermograph);
    let right = found.iter().filter(|stall| is_in(stall, "outside::sleeps_outside")).count();
    assert!(right >= 16, "{right} of 20: {found:#?}");
    assert_eq!(right, found.len(), "{found:#?}");
}

#[test]
fn busy_workers_with_short_polls_are_not_blamed() {
    let _alone = alone();
    let app = App::start(Router::new());
    wait_until_known(&app);
    for length in [Duration::from_micros(10), Duration::from_millis(1)] {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..50 {
            let stop = Arc::clone(&stop);
            app.spawn(async move {
                while !stop.load(Relaxed) {
                    burn(length);
                    tokio::task::yield_now().await;
                }
            });
        }
        thread::sleep(Duration::from_secs(3));
        stop.store(true, Relaxed);
        let mut found = outside(&app.thermograph);
        found.retain(|stall| matches!(stall.class, Class::Cpu | Class::Blocked));
        assert!(found.is_empty(), "polls of {length:?}: {found:#?}");
    }
}

/// The stalls that a guard has seen in a task that begins so long after it, and is spawned as
/// `#[tokio::test]` runs it: on one thread, without hooks.
fn stalls_of_guard(after: Duration, task: impl FnOnce() + Send + 'static) -> Vec<Stall> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let thermograph = Thermograph::builder().build().expect("valid");
        let guard = thermograph.assert_no_stall();
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        tokio::spawn(async { task() }).await.expect("no panic");
        let stalls = guard.stalls();
        std::mem::forget(guard);
        stalls
    })
}

#[test]
fn guard_fails_for_a_spawned_task_that_blocks() {
    let _alone = alone();
    // The runtime is known by then.
    let stalls = stalls_of_guard(Duration::from_millis(200), sleeps_outside);
    assert!(stalls.iter().any(|stall| is_in(stall, "sleeps_outside")), "{stalls:#?}");
}

#[inline(never)]
fn sleeps_at_once() {
    thread::sleep(Duration::from_millis(40));
    std::hint::black_box("slept at once");
}

#[test]
fn guard_fails_for_a_spawned_task_that_blocks_at_once() {
    let _alone = alone();
    let stalls = stalls_of_guard(Duration::ZERO, sleeps_at_once);
    assert!(stalls.iter().any(|stall| is_in(stall, "sleeps_at_once")), "{stalls:#?}");
}
