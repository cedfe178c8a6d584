//! A blocking pool whose threads are all busy while work is queued.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use axum::{Router, routing::get};
use thermograph::{
    Diagnosis,
    diagnosis::{Finding, StackFrame},
    label,
};

use crate::{
    app::{App, agent, alone, get_text, wait},
    specimens::burn,
};

const THREADS: usize = 4;
const WORK: Duration = Duration::from_millis(300);

#[inline(never)]
fn resizes() {
    thread::sleep(WORK);
    std::hint::black_box("resized");
}

async fn resize() {
    tokio::task::spawn_blocking(resizes).await.expect("no panic");
}

#[inline(never)]
fn computes() {
    burn(Duration::from_millis(100));
    std::hint::black_box("computed");
}

async fn compute() {
    tokio::task::spawn_blocking(label::blocking(computes)).await.expect("no panic");
}

/// Asks for a path from so many threads, again and again while `during` runs.
fn under_load<T>(app: &App, path: &str, clients: usize, during: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let agent = agent();
                while !stop.load(Relaxed) {
                    agent.get(app.url(path)).call().expect("answered");
                }
            });
        }
        let result = during();
        stop.store(true, Relaxed);
        result
    })
}

/// A metric of the app's blocking pool; `None` if it has no line.
fn metric(app: &App, name: &str) -> Option<f64> {
    let metrics = get_text(&app.diagnostics("/metrics"));
    let name = format!("thermograph_blocking_pool_{name}{{");
    let line = metrics.lines().find(|line| line.starts_with(&name))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn diagnose(app: &App, seconds: u32) -> Diagnosis {
    let json = get_text(&app.diagnostics(&format!("/debug/diagnosis?seconds={seconds}")));
    serde_json::from_str(&json).expect("a diagnosis")
}

fn finding(diagnosis: &Diagnosis, route: &str) -> Finding {
    let verdict = diagnosis.verdicts.iter().find(|verdict| verdict.route == route);
    verdict.unwrap_or_else(|| panic!("{diagnosis:#?}")).verdict
}

#[test]
fn exhausted_pool_is_told_with_its_wait_and_places() {
    let _alone = alone();
    let app = App::with_blocking_threads(Router::new().route("/resize", get(resize)), THREADS);
    let (diagnosis, text) = under_load(&app, "/resize", 32, || {
        wait("the pool is exhausted", || metric(&app, "exhausted") == Some(1.0));
        wait("work is queued", || metric(&app, "queue_depth") > Some(10.0));
        assert_eq!(metric(&app, "threads"), Some(4.0));
        assert_eq!(metric(&app, "busy_threads"), Some(4.0));
        assert_eq!(metric(&app, "max_threads"), Some(4.0));
        let doctor = get_text(&app.diagnostics("/debug/doctor?format=text"));
        assert!(doctor.contains("4 of 4 threads busy"), "{doctor}");
        (diagnose(&app, 5), get_text(&app.diagnostics("/debug/diagnosis?format=text")))
    });
    println!("{}", diagnosis.text(|_, word| word.to_owned()));
    let [pool] = &diagnosis.pools[..] else { panic!("{diagnosis:#?}") };
    assert!(pool.lasts && pool.threads == THREADS && pool.queued > Some(10), "{pool:#?}");
    assert!(pool.exhausted_ms > 2500.0 && pool.probes > 0, "{pool:#?}");
    // 28 pieces of work before it, four at a time: about 2 s.
    assert!((900.0..10_000.0).contains(&pool.longest_wait_ms), "{pool:#?}");
    let place = &pool.places[0];
    assert!(place.at.function.ends_with("pool::resizes"), "{place:#?}");
    assert!(place.at.own && place.at.file.ends_with("pool.rs") && place.at.line > 0, "{place:#?}");
    assert_eq!(place.syscall.as_deref(), Some("clock_nanosleep"), "{place:#?}");
    assert!(place.threads > 2.5 && place.threads <= 4.0, "{place:#?}");
    let waiter = pool.waiting.first().unwrap_or_else(|| panic!("{pool:#?}"));
    assert_eq!((&*waiter.method, &*waiter.route), ("GET", "/resize"), "{pool:#?}");
    assert!(waiter.tasks >= 10 && waiter.waits_for.contains("pool::resize"), "{waiter:?}");
    assert_ne!(finding(&diagnosis, "/resize"), Finding::Blocking, "{diagnosis:#?}");
    // On a crowded machine a task of the server may be hot.
    let is_healthy = text.contains("every handler is healthy");
    assert!(!is_healthy || text.contains("is healthy, but not the blocking pool"), "{text}");
    assert!(text.contains("is exhausted: all of its 4 threads were busy"), "{text}");
    assert!(text.contains("pool::resizes"), "{text}");

    wait("the queue is empty", || metric(&app, "busy_threads") == Some(0.0));
    let after = diagnose(&app, 1);
    assert!(after.pools.is_empty(), "{after:#?}");
    assert_eq!(metric(&app, "exhausted"), Some(0.0));
    assert!(metric(&app, "exhausted_seconds_total") > Some(2.5));
    assert!(metric(&app, "queue_wait_seconds_count") > Some(0.0));
}

#[test]
fn threads_that_compute_are_shown_by_their_cpu_time() {
    let _alone = alone();
    let app = App::with_blocking_threads(Router::new().route("/compute", get(compute)), THREADS);
    let diagnosis = under_load(&app, "/compute", 16, || diagnose(&app, 3));
    println!("{}", diagnosis.text(|_, word| word.to_owned()));
    let [pool] = &diagnosis.pools[..] else { panic!("{diagnosis:#?}") };
    let computes = |frame: &StackFrame| frame.function.ends_with("pool::computes");
    let found = pool.places.iter().find(|place| place.stack.iter().any(computes));
    let place = found.unwrap_or_else(|| panic!("{pool:#?}"));
    assert!(place.syscall.is_none() && place.threads > 2.0, "{pool:#?}");
    assert!(computes(&place.at) || place.from.as_ref().is_some_and(computes), "{place:#?}");
    assert_eq!(place.handlers, ["GET /compute"], "{place:#?}");
    assert_ne!(finding(&diagnosis, "/compute"), Finding::Blocking, "{diagnosis:#?}");
}

#[test]
fn pool_with_threads_left_is_not_blamed() {
    let _alone = alone();
    let file = async || tokio::fs::read("/proc/self/exe").await.expect("read").len().to_string();
    let ill = Router::new().route("/resize", get(resize)).route("/file", get(file));
    let app = App::with_blocking_threads(ill, 16);
    let diagnosis =
        under_load(&app, "/resize", 4, || under_load(&app, "/file", 4, || diagnose(&app, 3)));
    assert!(diagnosis.pools.is_empty(), "{diagnosis:#?}");
    assert_eq!(metric(&app, "exhausted_seconds_total"), Some(0.0));
}
