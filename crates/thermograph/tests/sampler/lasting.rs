//! Stalls that have not ended, and blocks that are shorter than the threshold: each view tells of them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use serde_json::Value;
use thermograph::{Class, Stall, diagnosis::Finding};

use crate::{
    app::{App, PATIENCE, agent, alone, get_bytes, get_text, wait},
    captures::Wire,
    diagnosis::{diagnosis, verdict},
};

fn json(app: &App, path: &str) -> Value {
    serde_json::from_str(&get_text(&app.diagnostics(path))).expect("JSON")
}

fn row(app: &App, query: &str, route: &str) -> Value {
    let report = json(app, &format!("/debug/handlers{query}"));
    let rows = report["handlers"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["route"] == route);
    row.unwrap_or_else(|| panic!("{route} is not in {report:#}")).clone()
}

/// The sum of a metric's values for one route.
fn metric(app: &App, name: &str, route: &str) -> f64 {
    let metrics = get_text(&app.diagnostics("/metrics"));
    let of_route = format!("route=\"{route}\"");
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(&of_route));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// A handler that holds its worker until it is let go.
fn held() -> (Router, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let handler = move || {
        let released = Arc::clone(&released);
        async move { wait_for(&released) }
    };
    (Router::new().route("/held", get(handler)), release)
}

#[inline(never)]
fn wait_for(released: &Mutex<mpsc::Receiver<()>>) {
    let released = released.lock().expect("no panic");
    std::hint::black_box(released.recv_timeout(PATIENCE)).expect("released");
}

fn ask(app: &App, path: &str) -> thread::JoinHandle<()> {
    let url = app.url(path);
    thread::spawn(move || assert_eq!(agent().get(url).call().expect("an answer").status(), 200))
}

#[test]
fn stall_that_lasts_is_in_every_view_as_it_is_after_its_end() {
    let _alone = alone();
    let (held, release) = held();
    let app = App::start(held);
    let guard = app.thermograph.assert_no_stall();
    let client = ask(&app, "/held");
    wait("the stall is known", || !app.thermograph.stalls().is_empty());
    let began = Instant::now();

    // No stall begins or ends in this window.
    for query in ["?seconds=1", ""] {
        let diagnosis = diagnosis(&app, query);
        let verdict = verdict(&diagnosis, "/held");
        assert_eq!(verdict.verdict, Finding::Blocking, "{query}: {verdict:#?}");
        assert!(verdict.summary.starts_with("it holds a worker now, for "), "{verdict:#?}");
        assert_eq!((verdict.numbers.holding.workers, verdict.numbers.stalls.blocked), (1, 1));
        let window_ms = diagnosis.seconds * 1e3;
        let numbers = &verdict.numbers;
        assert!(numbers.stalled_ms <= window_ms * 1.05 + 50.0, "{query}: {diagnosis:#?}");
        assert!(query.is_empty() || numbers.stalled_ms >= 900.0, "{query}: {diagnosis:#?}");
        assert!(numbers.busy_ms >= numbers.stalled_ms, "{verdict:#?}");
        assert!(numbers.longest_ms >= numbers.stalled_ms, "{verdict:#?}");
        let own = verdict.causes[0].stack.iter().filter(|frame| frame.own);
        assert!(own.clone().any(|frame| frame.function.ends_with("lasting::wait_for")));
        let text = diagnosis.text(|_, word| word.to_owned());
        assert!(text.contains("GET /held is blocking: it holds a worker now, for "), "{text}");
    }
    let worker_share = row(&app, "?seconds=1", "/held")["worker_share"].as_f64();
    assert!((0.8..1.2).contains(&worker_share.expect("a share")), "{worker_share:?}");
    let so_far = began.elapsed().as_secs_f64();
    let row = row(&app, "", "/held");
    assert_eq!((&row["stalls"]["blocked"], &row["polls"]), (&1.into(), &1.into()), "{row:#}");
    for figure in ["stalled_ms", "busy_ms"] {
        assert!(row[figure].as_f64() >= Some(so_far * 1e3), "{figure}: {row:#}");
    }
    assert!(row["poll_ms"]["max"].as_f64() >= Some(so_far * 1e3), "{row:#}");
    let table = get_text(&app.diagnostics("/debug/handlers?format=text"));
    assert!(table.contains("GET /held holds 1 worker now, for "), "{table}");
    let stalls = json(&app, "/debug/stalls");
    assert_eq!(stalls["stalls"][0]["ended"], false);
    assert!(stalls["stalls"][0]["elapsed_ms"].as_f64() >= Some(so_far * 1e3), "{stalls:#}");
    for query in ["", "?seconds=1"] {
        let block =
            Wire::decode(&get_bytes(&app.diagnostics(&format!("/debug/pprof/block{query}"))));
        let samples = block.samples();
        let sample = samples.iter().find(|sample| sample.label("route") == "/held");
        let sample = sample.unwrap_or_else(|| panic!("not in /debug/pprof/block{query}"));
        assert_eq!(sample.count, 1);
        assert!(sample.value > 800_000_000, "{query}: {} ns", sample.value);
        assert!(sample.has("lasting::wait_for"));
    }

    // What scrapes are given never becomes less.
    let names = ["thermograph_stall_seconds_sum", "thermograph_handler_poll_seconds_total"];
    let before = names.map(|name| metric(&app, name, "/held"));
    assert!(before.iter().all(|seconds| *seconds >= so_far), "{before:?}");
    assert!((metric(&app, "thermograph_stalls_total", "/held") - 1.0).abs() < 1e-9);
    assert!((metric(&app, "thermograph_handler_held_workers", "/held") - 1.0).abs() < 1e-9);
    assert!((metric(&app, "thermograph_stall_seconds_count", "/held") - 1.0).abs() < 1e-9);
    // `+Inf` and no other bucket.
    assert!((metric(&app, "thermograph_stall_seconds_bucket", "/held") - 1.0).abs() < 1e-9);
    catch_unwind(AssertUnwindSafe(|| drop(guard))).expect_err("a stall lasts");

    release.send(()).expect("it waits");
    client.join().expect("no panic");
    wait("the stall has ended", || app.thermograph.stalls()[0].ended);
    let after = names.map(|name| metric(&app, name, "/held"));
    assert!(
        before.iter().zip(after).all(|(before, after)| *before <= after),
        "{before:?} {after:?}"
    );
    assert!((metric(&app, "thermograph_stalls_total", "/held") - 1.0).abs() < 1e-9);
    assert!(metric(&app, "thermograph_stall_seconds_bucket", "/held") >= 1.0);
    let diagnosis = diagnosis(&app, "");
    let verdict = self::verdict(&diagnosis, "/held");
    assert!(verdict.summary.starts_with("it held a worker once, for "), "{verdict:#?}");
    assert_eq!(verdict.numbers.holding.workers, 0);
}

/// Locks one mutex, waits until the other handler has its own, and locks that.
fn lock_both(first: &Mutex<()>, meet: &std::sync::Barrier, second: &Mutex<()>) {
    let _first = first.lock().expect("no panic");
    meet.wait();
    lock_second(second);
}

#[inline(never)]
fn lock_second(second: &Mutex<()>) {
    std::hint::black_box(second.lock().map(drop)).expect("no panic");
}

#[test]
fn deadlocked_handlers_are_blocking_with_the_place_where_each_waits() {
    let _alone = alone();
    let locks: &(Mutex<()>, Mutex<()>) = Box::leak(Box::default());
    let meet: &std::sync::Barrier = Box::leak(Box::new(std::sync::Barrier::new(2)));
    let deadlock = Router::new()
        .route("/left", get(async || lock_both(&locks.0, meet, &locks.1)))
        .route("/right", get(async || lock_both(&locks.1, meet, &locks.0)));
    let app = App::start(deadlock);
    for path in ["/left", "/right"] {
        let url = app.url(path);
        // It gets no answer, ever.
        thread::spawn(move || agent().get(url).call().map(drop));
    }
    for query in ["", "?seconds=1"] {
        wait("both are blocking", || {
            app.wake();
            let diagnosis = diagnosis(&app, query);
            ["/left", "/right"].iter().all(|route| {
                diagnosis
                    .verdicts
                    .iter()
                    .any(|verdict| verdict.route == *route && verdict.verdict == Finding::Blocking)
            })
        });
    }
    let diagnosis = diagnosis(&app, "?seconds=1");
    for route in ["/left", "/right"] {
        let verdict = verdict(&diagnosis, route);
        assert!(verdict.summary.starts_with("it holds a worker now, for "), "{verdict:#?}");
        let cause = &verdict.causes[0];
        assert_eq!((cause.class, cause.syscall.as_deref()), (Some(Class::Blocked), Some("futex")));
        let function = &cause.at.as_ref().expect("a place").function;
        assert!(function.contains("lasting::lock"), "{cause:#?}");
    }
    let elapsed = app.thermograph.stalls().iter().map(|stall| stall.elapsed_ms).fold(0.0, f64::max);
    // A stall that lasts is looked at four times a second.
    assert!(verdict(&diagnosis, "/left").numbers.longest_ms <= elapsed + 1000.0);
    // Its workers never end.
    std::mem::forget(app);
}

// Functions with the same body are one to the compiler, under the name of either: the texts differ.
#[inline(never)]
fn naps() {
    thread::sleep(Duration::from_millis(300));
    std::hint::black_box("napped");
}

#[inline(never)]
fn spins(step: &AtomicUsize) {
    while step.load(Relaxed) == 1 {
        std::hint::spin_loop();
    }
    std::hint::black_box(());
}

#[inline(never)]
fn spins_on(step: &AtomicUsize) {
    while step.load(Relaxed) == 2 {
        std::hint::spin_loop();
    }
    std::hint::black_box(());
}

/// Ends every spin when dropped, however the test ends.
struct Last<'a>(&'a AtomicUsize);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.store(3, Relaxed);
    }
}

/// The stall of a route that lasts, if it is shown with a stack.
fn shown(app: &App, route: &str) -> Option<Stall> {
    let mut stalls = app.thermograph.stalls().into_iter();
    stalls.find(|stall| stall.route == route && !stall.ended && !stall.stack.is_empty())
}

/// Waits until a poll has gone on to its next place.
fn wait_until_in(step: &AtomicUsize, number: usize) {
    wait("the poll goes on", || step.load(Relaxed) == number);
}

fn is_in(stall: &Stall, function: &str) -> bool {
    stall.stack.iter().any(|frame| frame.function.ends_with(function))
}

/// Returns the wait of the task of a route that is polled, and the functions of its stack.
fn polled_task(app: &App, route: &str) -> (Value, Vec<String>) {
    let report = json(app, "/debug/tasks?full=true");
    let mut tasks = report["tasks"].as_array().expect("a list").iter();
    let task = tasks.find(|task| task["route"] == route && task["state"] == "running");
    let task = task.unwrap_or_else(|| panic!("{route} is not in {report:#}"));
    let frames = task["stack"].as_array().expect("a list").iter();
    let functions = frames.map(|frame| frame["function"].as_str().expect("a name").to_owned());
    (task["waits_for"].clone(), functions.collect())
}

#[test]
fn stall_that_sleeps_and_then_spins_is_shown_where_it_spins() {
    let _alone = alone();
    let step = Arc::new(AtomicUsize::new(0));
    let of_handler = Arc::clone(&step);
    let sleeps_and_spins = get(async move || {
        naps();
        of_handler.store(1, Relaxed);
        spins(&of_handler);
        spins_on(&of_handler);
    });
    let app = App::hooked(Router::new().route("/spins", sleeps_and_spins));
    let _last = Last(&step);
    let client = ask(&app, "/spins");
    for (number, function) in [(1, "lasting::spins"), (2, "lasting::spins_on")] {
        wait_until_in(&step, number);
        wait(&format!("it is shown in {function}"), || {
            shown(&app, "/spins").is_some_and(|stall| {
                // Call and stack are of one moment.
                let syscall = is_in(&stall, "lasting::naps").then_some("clock_nanosleep");
                assert_eq!(stall.syscall.as_deref(), syscall, "{stall:#?}");
                is_in(&stall, function) && stall.class == Class::Cpu
            })
        });
        let (waits_for, functions) = polled_task(&app, "/spins");
        assert_eq!(waits_for, "nothing: it computes on its worker");
        assert!(functions.iter().any(|name| name.ends_with(function)), "{functions:?}");
        step.fetch_add(1, Relaxed);
    }
    client.join().expect("no panic");
}

#[test]
fn stall_that_sleeps_and_then_locks_is_shown_with_futex_where_it_locks() {
    let _alone = alone();
    let lock: &Mutex<()> = Box::leak(Box::default());
    let step = Arc::new(AtomicUsize::new(0));
    let of_handler = Arc::clone(&step);
    let sleeps_and_locks = get(async move || {
        naps();
        of_handler.store(1, Relaxed);
        lock_second(lock);
    });
    let app = App::hooked(Router::new().route("/locks", sleeps_and_locks));
    let held = lock.lock().expect("no panic");
    let client = ask(&app, "/locks");
    wait_until_in(&step, 1);
    wait("it is shown where it locks", || {
        shown(&app, "/locks").is_some_and(|stall| {
            // Call and stack are of one moment.
            let locks = is_in(&stall, "lasting::lock_second");
            assert_ne!(locks, is_in(&stall, "lasting::naps"), "{stall:#?}");
            let syscall = if locks { "futex" } else { "clock_nanosleep" };
            assert_eq!(stall.syscall.as_deref(), Some(syscall), "{stall:#?}");
            locks && stall.class == Class::Blocked
        })
    });
    let (waits_for, functions) = polled_task(&app, "/locks");
    assert_eq!(waits_for, "futex, which blocks its worker");
    assert!(functions.iter().any(|name| name.ends_with("lasting::lock_second")), "{functions:?}");
    drop(held);
    client.join().expect("no panic");
}

#[test]
fn short_blocks_that_take_the_workers_are_blocking_whichever_way_it_is_asked() {
    let _alone = alone();
    let naps = get(async || thread::sleep(Duration::from_millis(7)));
    let app = App::start(Router::new().route("/naps", naps));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let agent = agent();
                while !stop.load(Relaxed) {
                    drop(agent.get(app.url("/naps")).call());
                }
            });
        }
        let over = diagnosis(&app, "?seconds=2");
        let past = diagnosis(&app, "");
        stop.store(true, Relaxed);
        for diagnosis in [over, past] {
            let verdict = verdict(&diagnosis, "/naps");
            assert_eq!(verdict.verdict, Finding::Blocking, "{diagnosis:#?}");
            let cause = &verdict.causes[0];
            assert!(cause.what.starts_with("sleeps on the worker"), "{verdict:#?}");
            assert_eq!(cause.syscall.as_deref(), Some("clock_nanosleep"), "{verdict:#?}");
        }
    });
}

#[test]
fn healthy_handlers_are_not_blocking_by_short_waits_under_load() {
    let _alone = alone();
    let app = App::start(Router::new());
    app.with_healthy_load(|| thread::sleep(Duration::from_secs(3)));
    let diagnosis = diagnosis(&app, "");
    for verdict in &diagnosis.verdicts {
        assert_ne!(verdict.verdict, Finding::Blocking, "{verdict:#?}");
    }
}
