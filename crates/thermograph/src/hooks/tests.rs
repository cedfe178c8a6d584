use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use axum::{Router, body::Body, response::Response, routing::get};
use http::Request;
use tokio::{runtime::Runtime, time};
use tower_service::Service as _;

use super::*;
use crate::{
    Thermograph, class::Class, config::ConsoleMode, doctor, handlers::Quantiles, stall::Stall,
};

const THRESHOLD: Duration = Duration::from_millis(5);
const TOO_LONG: Duration = Duration::from_millis(30);

fn thermograph() -> Thermograph {
    let builder = Thermograph::builder().threshold(THRESHOLD).console(ConsoleMode::Off);
    builder.build().expect("valid")
}

/// With one worker.
fn runtime(hooks: Hooks) -> Runtime {
    let mut builder = runtime::Builder::new_multi_thread();
    hooks.install(builder.worker_threads(1).enable_all());
    builder.build().expect("a runtime")
}

/// Stalls that are no fault of a busy machine, as handler and task.
fn stalls(thermograph: &Thermograph) -> Vec<Stall> {
    thermograph.instance.stalls.settle();
    let mut stalls = thermograph.stalls();
    stalls.retain(|stall| stall.class != Class::Preempted);
    stalls
}

fn names(stalls: &[Stall]) -> Vec<(&str, &str)> {
    stalls.iter().map(|stall| (&*stall.method, &*stall.route)).collect()
}

fn ask(app: &Router, path: &str) -> impl Future<Output = Response> + use<> {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let answer = app.clone().with_state(()).into_service::<Body>().call(request);
    async { answer.await.expect("infallible") }
}

/// Handlers that block, that spawn a task that does, and that do neither.
fn app(thermograph: &Thermograph) -> Router {
    let spawn = || async {
        let blocks = async {
            time::sleep(Duration::from_millis(1)).await;
            thread::sleep(TOO_LONG);
        };
        // Of a task of the handler, as of the handler.
        tokio::spawn(async { tokio::spawn(blocks).await.expect("no panic") })
            .await
            .expect("no panic");
    };
    Router::new()
        .route("/blocks", get(|| async { thread::sleep(TOO_LONG) }))
        .route("/spawns", get(spawn))
        .route("/waits", get(|| time::sleep(TOO_LONG)))
        .layer(thermograph.layer())
}

#[test]
fn the_user_s_own_hooks_still_run() {
    let thermograph = thermograph();
    let calls: [Arc<AtomicUsize>; 4] = Default::default();
    let [spawn, before, after, terminate] = calls.clone().map(|calls| {
        move |_: &TaskMeta<'_>| {
            calls.fetch_add(1, Relaxed);
        }
    });
    let hooks = thermograph.hooks().on_task_spawn(spawn).on_before_task_poll(before);
    let hooks = hooks.on_after_task_poll(after).on_task_terminate(terminate);
    // Workers are blocking tasks of Tokio's, which it calls the last one for too.
    let mut builder = runtime::Builder::new_current_thread();
    hooks.install(&mut builder);
    let runtime = builder.build().expect("a runtime");
    runtime.block_on(async { tokio::spawn(async {}).await.expect("no panic") });
    drop(runtime);
    assert_eq!(calls.map(|calls| calls.load(Relaxed)), [1; 4]);
}

/// The doctor's finding about hooks of a runtime with one worker, after `prepare` has set others on
/// the builder, and so many requests, each in a task.
fn hooks_found(
    requests: usize,
    prepare: impl FnOnce(&Thermograph, &mut runtime::Builder),
) -> (doctor::Finding, Thermograph, Runtime) {
    let thermograph = thermograph();
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    prepare(&thermograph, &mut builder);
    let runtime = builder.build().expect("a runtime");
    let app = Router::new().route("/", get(async || "hello")).layer(thermograph.layer());
    for _ in 0..requests {
        let task = runtime.spawn(ask(&app, "/"));
        assert_eq!(runtime.block_on(task).expect("no panic").status(), 200);
    }
    let mut findings = thermograph.doctor().findings.into_iter();
    let found = findings.find(|finding| finding.what == "hooks").expect("a finding");
    (found, thermograph, runtime)
}

#[test]
fn hooks_that_the_app_replaces_are_found_by_the_doctor() {
    type Replace = fn(&mut runtime::Builder);
    let all: [(&str, Replace); 4] = [
        ("on_task_spawn", |builder| {
            builder.on_task_spawn(|_| ());
        }),
        ("on_before_task_poll", |builder| {
            builder.on_before_task_poll(|_| ());
        }),
        ("on_after_task_poll", |builder| {
            builder.on_after_task_poll(|_| ());
        }),
        ("on_task_terminate", |builder| {
            builder.on_task_terminate(|_| ());
        }),
    ];
    for (kind, replace) in all {
        let (found, ..) = hooks_found(40, |thermograph, builder| {
            let _ = thermograph.hooks().install(builder);
            replace(builder);
        });
        assert_eq!(found.state, doctor::State::Warning, "{kind}: {found:?}");
        assert!(found.says.contains(&format!("does not call {kind}:")), "{kind}: {found:?}");
    }
    let (found, ..) = hooks_found(1, |thermograph, builder| {
        let _ = thermograph.hooks().install(builder);
        for (_, replace) in &all {
            replace(builder);
        }
    });
    assert_eq!(found.state, doctor::State::Warning, "{found:?}");
    assert!(found.says.contains("never called"), "{found:?}");
    assert!(found.mend.is_some_and(|mend| mend.contains("hooks().on_task_spawn(")));
}

#[test]
fn hooks_that_install_replaces_are_told_by_the_doctor() {
    static CALLED: AtomicUsize = AtomicUsize::new(0);
    let (found, ..) = hooks_found(1, |thermograph, builder| {
        builder.on_task_spawn(|_| {
            CALLED.fetch_add(1, Relaxed);
        });
        let _ = thermograph.hooks().install(builder);
    });
    assert_eq!(CALLED.load(Relaxed), 0, "Tokio keeps the last hook");
    assert_eq!(found.state, doctor::State::Good, "{found:?}");
    let says = "hooks that the app set on the builder before install() are gone";
    assert!(found.says.contains(says), "{found:?}");
}

#[test]
fn hooks_of_another_runtime_are_found_by_the_doctor() {
    let (found, ..) = hooks_found(1, |thermograph, _| {
        let _ = thermograph.hooks().install(&mut runtime::Builder::new_multi_thread());
    });
    assert_eq!(found.state, doctor::State::Warning, "{found:?}");
    assert!(found.says.contains("another runtime serves"), "{found:?}");
}

#[test]
fn polls_whose_end_is_not_told_do_not_last() {
    let (_, thermograph, runtime) = hooks_found(40, |thermograph, builder| {
        let _ = thermograph.hooks().install(builder);
        builder.on_after_task_poll(|_| ());
    });
    let is_polling = || async { Slot::current().is_polling() };
    let is_polling = runtime.block_on(runtime.spawn(is_polling())).expect("no panic");
    assert!(!is_polling);
    // At most the first one, before there was a second that showed that its end is not told.
    let mut stalls = stalls(&thermograph);
    // On a crowded machine a handler's own poll may be one.
    stalls.retain(|stall| stall.method == "TASK");
    assert!(stalls.len() <= 1 && stalls.iter().all(|stall| stall.ended), "{stalls:?}");
}

#[test]
fn callbacks_in_the_app_s_own_hooks_do_what_the_hooks_do() {
    let own: [Arc<AtomicUsize>; 4] = Default::default();
    let calls = own.clone();
    let (found, thermograph, runtime) = hooks_found(1, move |thermograph, builder| {
        let callbacks = thermograph.hooks().install(builder);
        let [spawn, before, after, terminate] = [(); 4].map(|()| callbacks.clone());
        let [spawned, began, ended, over] = calls;
        builder
            .on_task_spawn(move |task| {
                spawn.task_spawned(task);
                spawned.fetch_add(1, Relaxed);
            })
            .on_before_task_poll(move |task| {
                before.before_task_poll(task);
                began.fetch_add(1, Relaxed);
            })
            .on_after_task_poll(move |task| {
                ended.fetch_add(1, Relaxed);
                after.after_task_poll(task);
            })
            .on_task_terminate(move |task| {
                terminate.task_terminated(task);
                over.fetch_add(1, Relaxed);
            });
    });
    assert_eq!(found.state, doctor::State::Good, "{found:?}");
    let app = app(&thermograph);
    runtime.block_on(runtime.spawn(ask(&app, "/spawns"))).expect("no panic");
    drop(runtime);
    let stalls = stalls(&thermograph);
    assert_eq!(names(&stalls), [("GET", "/spawns")]);
    assert!(TASKS.find(stalls[0].task.expect("known")).is_none());
    assert!(own.iter().all(|calls| calls.load(Relaxed) > 0), "{own:?}");
}

#[test]
fn a_hook_that_panics_ends_the_poll() {
    let thermograph = thermograph();
    let mut builder = runtime::Builder::new_current_thread();
    thermograph.hooks().on_before_task_poll(|_| panic!("on purpose")).install(&mut builder);
    let runtime = builder.build().expect("a runtime");
    let run = || runtime.block_on(async { tokio::spawn(async {}).await });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    assert!(!Slot::current().is_polling());
}

#[test]
fn what_a_handler_spawns_is_the_handler_s() {
    let thermograph = thermograph();
    let (runtime, app) = (runtime(thermograph.hooks()), app(&thermograph));
    runtime.block_on(async { tokio::spawn(ask(&app, "/spawns")).await.expect("no panic") });
    let stalls = stalls(&thermograph);
    assert_eq!(names(&stalls), [("GET", "/spawns")]);
    assert!(stalls[0].task.is_some() && stalls[0].ended, "{stalls:?}");
    // They were forgotten with their end.
    drop(runtime);
    let number = stalls[0].task.expect("known");
    assert!(TASKS.find(number).is_none());
    // A task is no request: the handler's own polls are counted, and of the task's the stall.
    let rows = thermograph.ledger().report().handlers;
    assert_eq!((rows.len(), rows[0].requests, rows[0].polls), (1, 1, 3));
}

#[test]
fn other_tasks_go_by_where_they_were_spawned() {
    let thermograph = thermograph();
    let runtime = runtime(thermograph.hooks());
    let id = runtime.block_on(async {
        let task = tokio::spawn(async { thread::sleep(TOO_LONG) });
        let id = task.id();
        task.await.expect("no panic");
        id
    });
    // Whatever its class: on a crowded machine the watchdog may see it too late to know that.
    thermograph.instance.stalls.settle();
    let stalls = thermograph.stalls();
    assert_eq!(stalls.len(), 1, "{stalls:?}");
    let Stall { method, route, task, .. } = &stalls[0];
    assert_eq!((method.as_str(), *task), ("TASK", Some(number(id))));
    assert!(route.starts_with("crates/thermograph/src/hooks/tests.rs:"), "{route}");
    // It has its stall, and no request.
    let [row] = &*thermograph.ledger().report().handlers else { panic!("not one row") };
    assert_eq!((&*row.method, row.requests, row.polls, row.stalls.all()), ("TASK", 0, 1, 1));
}

#[test]
fn a_healthy_request_makes_no_stall_of_its_connection() {
    let thermograph = thermograph();
    let (runtime, app) = (runtime(thermograph.hooks()), app(&thermograph));
    runtime.block_on(async { tokio::spawn(ask(&app, "/waits")).await.expect("no panic") });
    assert_eq!(names(&stalls(&thermograph)), []);
}

#[test]
fn a_handler_s_stall_is_not_its_connection_s_too() {
    let thermograph = thermograph();
    let (runtime, app) = (runtime(thermograph.hooks()), app(&thermograph));
    runtime.block_on(async { tokio::spawn(ask(&app, "/blocks")).await.expect("no panic") });
    let stalls = stalls(&thermograph);
    assert_eq!(names(&stalls), [("GET", "/blocks")]);
    assert!(stalls[0].task.is_some());
}

/// Computes until this thread has used so much CPU time.
#[cfg(sampler)]
fn compute(time: Duration) {
    let run = || thermograph_sampler::Times::own().expect("told").run;
    let until = run() + time;
    while run() < until {}
}

#[cfg(sampler)]
#[test]
fn stall_around_a_nested_poll_has_its_own_class() {
    let thermograph = thermograph();
    let runtime = runtime(thermograph.hooks());
    let app = Router::new()
        .route("/computes", get(|| async { compute(TOO_LONG) }))
        .route("/sleeps", get(|| async { thread::sleep(TOO_LONG) }))
        .layer(thermograph.layer());
    // In the poll of the task, before and after that of the request.
    let around = |path: &'static str, work: fn()| {
        let answer = ask(&app, path);
        let task = async move {
            work();
            answer.await;
            work();
        };
        runtime.block_on(async { tokio::spawn(task).await.expect("no panic") });
    };
    let mut seen = Vec::new();
    for _ in 0..20 {
        around("/computes", || thread::sleep(TOO_LONG));
        around("/sleeps", || compute(TOO_LONG));
        seen = stalls(&thermograph);
        // On a crowded machine the watchdog may come too late to know.
        let known = seen.iter().filter(|stall| stall.class.is_the_handler_s());
        let kinds: std::collections::HashSet<_> =
            known.map(|stall| (&*stall.method, &*stall.route, stall.class.name())).collect();
        if kinds.len() >= 4 {
            break;
        }
    }
    for stall in &seen {
        if let (route @ ("/computes" | "/sleeps"), Class::Cpu | Class::Blocked) =
            (&*stall.route, stall.class)
        {
            assert_eq!(stall.class == Class::Cpu, route == "/computes", "{stall}");
        }
    }
    // Of either task, of whom one line cannot be told from the other.
    let outer = |class| seen.iter().any(|stall| stall.method == "TASK" && stall.class == class);
    assert!(outer(Class::Blocked) && outer(Class::Cpu), "{seen:?}");
    for stall in seen.iter().filter(|stall| stall.method == "TASK") {
        let is_waiting = stall.syscall.as_deref() == Some("clock_nanosleep");
        assert!(stall.class != Class::Cpu || !is_waiting, "{stall}");
        // Twice 30 ms, of which the nested poll's 30 are no part.
        assert!(stall.class != Class::Blocked || stall.run_ms < 30.0, "{stall}");
    }
}

#[test]
fn figures_of_a_row_do_not_contradict_each_other() {
    let thermograph = thermograph();
    let (runtime, app) = (runtime(thermograph.hooks()), app(&thermograph));
    let before = thermograph.ledger().snapshot();
    for path in ["/spawns", "/blocks", "/spawns", "/waits"] {
        runtime.block_on(async { tokio::spawn(ask(&app, path)).await.expect("no panic") });
    }
    thermograph.instance.stalls.settle();
    let now = thermograph.ledger().snapshot();
    for report in [now.since(&before).report(), now.report()] {
        let shares: f64 = report.handlers.iter().map(|row| row.busy_share).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{report}");
        for row in &report.handlers {
            let stalls = row.stalls.own();
            let mean = if stalls > 0 { row.stalled_ms / stalls as f64 } else { 0.0 };
            assert!(row.poll_ms.max >= mean, "{row:?}");
            assert!(row.busy_ms >= row.stalled_ms && row.stalled_ms >= row.unknown_ms, "{row:?}");
            assert!(row.busy_ms >= row.poll_ms.max * 0.93, "{row:?}");
            assert!(row.polls >= row.stalls.all(), "{row:?}");
            let workers = row.busy_ms / (report.seconds * 1e3);
            assert!((row.worker_share - workers).abs() < 1e-6, "{row:?}");
            let Quantiles { p50, p90, p99, max } = row.poll_ms;
            assert!(p50 <= p90 && p90 <= p99 && p99 <= max, "{row:?}");
        }
        let spawns = report.handlers.iter().find(|row| row.route == "/spawns");
        let spawns = spawns.expect("was at work");
        // Of the task that it spawned.
        assert!(spawns.stalls.all() >= 2 && spawns.poll_ms.max >= 30.0, "{spawns:?}");
    }
}

#[test]
fn a_task_in_a_task_is_part_of_it() {
    let thermograph = thermograph();
    let (outer, hooks) = (runtime(thermograph.hooks()), thermograph.hooks());
    outer.block_on(async {
        let task = tokio::spawn(async {
            tokio::task::block_in_place(|| {
                let mut builder = runtime::Builder::new_current_thread();
                hooks.install(&mut builder);
                let inner = builder.build().expect("a runtime");
                inner.block_on(async {
                    let blocks = async { thread::sleep(TOO_LONG) };
                    tokio::spawn(blocks).await.expect("no panic");
                });
            });
            Slot::current().is_polling()
        });
        assert!(task.await.expect("no panic"));
    });
    let stalls = stalls(&thermograph);
    assert_eq!(stalls.len(), 1, "{stalls:?}");
    assert_eq!(stalls[0].method, "TASK");
}

#[test]
fn a_number_is_the_one_that_tokio_shows() {
    let runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
    let id = runtime.spawn(async {}).id();
    assert_eq!(number(id).to_string(), id.to_string());
}

#[cfg(schedule_latency)]
#[test]
fn a_stall_is_charged_with_what_others_waited() {
    let thermograph = thermograph();
    let runtime = runtime(thermograph.hooks());
    let app = app(&thermograph);
    runtime.block_on(async {
        let blocking = tokio::spawn(ask(&app, "/blocks"));
        // Ready at once, on the one worker that the stall holds.
        let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(async {})).collect();
        blocking.await.expect("no panic");
        for task in waiting {
            task.await.expect("no panic");
        }
    });
    let harm = || {
        let report = thermograph.ledger().report();
        let row = report.handlers.iter().find(|row| row.route == "/blocks");
        row.and_then(|row| row.harm_ms).unwrap_or(0.0)
    };
    let deadline = time::Instant::now() + Duration::from_secs(30);
    while harm() == 0.0 && time::Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    // What waited less than a millisecond is not told: the worker may have been at it already.
    assert!(harm() > 0.0 && harm() < 60_000.0, "{}", harm());
    let report = thermograph.ledger().report();
    let mut others = report.handlers.iter().filter(|row| row.route != "/blocks");
    assert!(others.all(|row| row.harm_ms <= Some(0.0)), "{report}");
}
