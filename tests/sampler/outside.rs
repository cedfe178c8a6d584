//! Work that no hook and no layer tells of: a worker that it keeps is noticed all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use axum::{Router, routing::get};
use thermograph::diagnostics::{Class, Stall, Thermograph, diagnosis::Finding};

use crate::{
    app::{App, agent, alone, get_text, wait},
    specimens::burn,
};

const NOT_INSTRUMENTED: &str = "(not instrumented)";
const BLOCK: Duration = Duration::from_millis(60);

#[inline(never)]
fn sleeps_outside() {
    thread::sleep(BLOCK);
    std::hint::black_box(());
}

#[inline(never)]
fn burns_outside() {
    burn(BLOCK);
    std::hint::black_box(());
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
    let diagnosis = get_text(&app.diagnostics("/debug/diagnosis"));
    let diagnosis: thermograph::diagnostics::Diagnosis =
        serde_json::from_str(&diagnosis).expect("a diagnosis");
    let verdict = diagnosis.verdicts.iter().find(|verdict| verdict.route == NOT_INSTRUMENTED);
    let verdict = verdict.unwrap_or_else(|| panic!("{diagnosis:#?}"));
    assert_eq!(verdict.verdict, Finding::Blocking, "{verdict:#?}");
    let at = verdict.causes[0].at.as_ref().expect("a place");
    // Of two causes, either may be the greater one.
    assert!(at.own && at.file.contains("tests/sampler/"), "{verdict:#?}");
}

#[test]
fn worker_that_block_in_place_moves_is_followed() {
    let _alone = alone();
    let in_place = async || tokio::task::block_in_place(|| thread::sleep(BLOCK));
    let app = App::start(router().route("/in-place", get(in_place)));
    wait_until_known(&app);
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

/// As `#[tokio::test]` runs it: on one thread, without hooks.
#[test]
fn guard_fails_for_a_spawned_task_that_blocks() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let stalls = runtime.expect("a runtime").block_on(async {
        let thermograph = Thermograph::builder().build().expect("valid");
        let guard = thermograph.assert_no_stall();
        // The runtime is known by now.
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::spawn(async { sleeps_outside() }).await.expect("no panic");
        let stalls = guard.stalls();
        std::mem::forget(guard);
        stalls
    });
    assert!(stalls.iter().any(|stall| is_in(stall, "sleeps_outside")), "{stalls:#?}");
}
