//! Every illness is found, named and classed; the healthy are left in peace.

use std::{collections::BTreeMap, thread, time::Duration};

use axum::{Router, routing::get};
use thermograph::{Class, Diagnosis, Stacks, Stall, diagnosis::Finding};

use crate::{
    app::{App, agent, alone, get_text, wait},
    hogs::Hogs,
    specimens::{self, SPECIMENS, Specimen},
};

/// Calls of each specimen, from two clients; an even number.
const CALLS: usize = 60;

fn call(app: &App, path: &str, calls: usize) {
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let agent = agent();
                for _ in 0..calls / 2 {
                    let answer = agent.get(app.url(path)).call().expect("an answer");
                    assert_eq!(answer.status(), 200, "{path}");
                }
            });
        }
    });
}

/// How many of the stalls are as they must be.
fn count(stalls: &[Stall], is_right: impl Fn(&&Stall) -> bool) -> usize {
    stalls.iter().filter(is_right).count()
}

fn assert_specimen(specimen: &Specimen, stalls: &[Stall]) {
    let Specimen { path, function, class, syscalls } = specimen;
    assert_eq!(stalls.len(), CALLS, "{path}: a stall for every call\n{}", summary(stalls));
    let right = [
        ("class", count(stalls, |stall| stall.class == *class)),
        (
            "system call",
            count(stalls, |stall| match &stall.syscall {
                Some(syscall) => syscalls.contains(&syscall.as_str()),
                None => syscalls.is_empty(),
            }),
        ),
        (
            "function, file and line",
            count(stalls, |stall| {
                let is_it = |name: &str| name.ends_with(function);
                stall.stack.iter().any(|frame| {
                    is_it(&frame.function)
                        && frame.file.ends_with("tests/sampler/specimens.rs")
                        && frame.line > 0
                })
            }),
        ),
    ];
    // A disk wakes its writer many times in one call, and interrupts take the processor in between:
    // classes of such polls are often unknown.
    let least = if *path == "/ill/fsync" { 0.3 } else { 0.95 };
    let is_wrong = |stall: &&Stall| stall.class != *class && stall.class.is_the_handler_s();
    let wrong = count(stalls, is_wrong);
    assert!(wrong * 50 <= stalls.len(), "{path}: {wrong} classes are wrong\n{}", summary(stalls));
    for (what, right) in right {
        let share = right as f64 / stalls.len() as f64;
        assert!(share >= least, "{path}: {what} is right in {right} only\n{}", summary(stalls));
    }
}

fn summary(stalls: &[Stall]) -> String {
    let mut kinds = BTreeMap::<String, usize>::new();
    for stall in stalls {
        let leaf: Vec<_> = stall.stack.iter().take(4).map(|frame| &*frame.function).collect();
        let kind = format!("{} {:?} {}", stall.class, stall.syscall, leaf.join(" < "));
        *kinds.entry(kind).or_default() += 1;
    }
    format!("{kinds:#?}")
}

/// The healthy have no stall that they are at fault for.
fn assert_healthy(app: &App) {
    let mut stalls = app.thermograph.stalls();
    stalls.retain(|stall| stall.route.starts_with("/healthy") && stall.class.is_the_handler_s());
    assert!(stalls.is_empty(), "{}", stalls.iter().map(ToString::to_string).collect::<String>());
}

#[test]
fn every_specimen_is_named_and_classed_beside_healthy_handlers() {
    let _alone = alone();
    let app = App::start(specimens::router());
    for specimen in &SPECIMENS {
        app.with_healthy_load(|| call(&app, specimen.path, CALLS));
        let stalls = app.stalls_of(specimen.path, CALLS);
        let mut after: Vec<_> = stalls.iter().filter_map(|stall| stall.captured_after_ms).collect();
        after.sort_by(f64::total_cmp);
        println!(
            "{}: stack {:?} ms after the threshold (median)",
            specimen.path,
            after.get(after.len() / 2)
        );
        assert_specimen(specimen, &stalls);
    }
    assert_healthy(&app);
}

#[test]
fn specimens_that_compute_are_named_by_signals_too() {
    let _alone = alone();
    let app = App::with(specimens::router(), |builder| builder.stacks(Stacks::Signal));
    for specimen in SPECIMENS.iter().filter(|specimen| specimen.class == Class::Cpu) {
        app.with_healthy_load(|| call(&app, specimen.path, CALLS));
        assert_specimen(specimen, &app.stalls_of(specimen.path, CALLS));
    }
}

#[test]
fn the_healthy_are_not_blamed_while_others_eat_the_machine() {
    let _alone = alone();
    // Computes for less than the threshold: healthy, but in the kernel's way.
    let busy = get(async || specimens::burn(Duration::from_millis(4)));
    let app = App::start(Router::new().route("/healthy/busy", busy));
    let hogs = Hogs::start(2);
    app.with_healthy_load(|| thread::sleep(Duration::from_secs(10)));
    drop(hogs);
    println!("two hogs: {} polls were preempted", app.thermograph.stalls().len());
    assert_healthy(&app);

    // So many that a poll of some milliseconds is preempted for longer than the threshold.
    let processors = thread::available_parallelism().map_or(2, usize::from);
    let hogs = Hogs::start(8 * processors);
    app.with_healthy_load(|| {
        wait("polls were preempted", || {
            call(&app, "/healthy/busy", 2);
            app.stalls_counted("/healthy/busy") >= 3
        });
    });
    drop(hogs);
    let mut stalls = app.thermograph.stalls();
    stalls.retain(|stall| stall.route == "/healthy/busy");
    println!("many hogs: {} polls were preempted", stalls.len());
    assert!(stalls.iter().all(|stall| !stall.class.is_the_handler_s()), "{}", summary(&stalls));
    let preempted = count(&stalls, |stall| stall.class == Class::Preempted);
    assert!(preempted > 0, "{}", summary(&stalls));
}

/// Stalls of a class that is wrong for what the handler does.
fn wrong(stalls: &[Stall]) -> Vec<&Stall> {
    let is_wrong = |stall: &&Stall| match &*stall.route {
        "/ill/sleep" | "/ill/recv" => stall.class == Class::Cpu,
        "/ill/burn" => stall.class == Class::Blocked,
        _ => stall.class.is_the_handler_s(),
    };
    stalls.iter().filter(is_wrong).collect()
}

#[test]
fn classes_are_right_or_unknown_while_others_eat_the_machine() {
    let _alone = alone();
    let app = App::start(specimens::router());
    let processors = thread::available_parallelism().map_or(2, usize::from);
    let hogs = Hogs::start(4 * processors);
    app.with_healthy_load(|| {
        for path in ["/ill/sleep", "/ill/recv", "/ill/burn"] {
            call(&app, path, 20);
        }
    });
    drop(hogs);
    wait("all have ended", || app.thermograph.stalls().iter().all(|stall| stall.ended));
    let stalls = app.thermograph.stalls();
    let unknown = count(&stalls, |stall| stall.class == Class::Unknown);
    println!("{unknown} of {} stalls are of an unknown class", stalls.len());
    let wrong = wrong(&stalls);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Nothing is blamed for what is not known.
    let text = get_text(&app.diagnostics("/debug/diagnosis"));
    let diagnosis: Diagnosis = serde_json::from_str(&text).expect("a diagnosis");
    let healthy = diagnosis.verdicts.iter().filter(|verdict| verdict.route.starts_with("/healthy"));
    for verdict in healthy {
        assert_ne!(verdict.verdict, Finding::Blocking, "{verdict:#?}");
    }
}

#[test]
fn without_signals_a_stall_still_has_its_handler_and_system_call() {
    let _alone = alone();
    let app = App::with(specimens::router(), |builder| builder.stacks(Stacks::Off));
    call(&app, "/ill/sleep", 10);
    call(&app, "/ill/burn", 10);
    wait("all have ended", || app.thermograph.stalls().len() == 20);
    for stall in app.thermograph.stalls() {
        assert!(stall.stack.is_empty(), "{stall}");
        match &*stall.route {
            "/ill/sleep" => {
                assert_eq!(stall.class, Class::Blocked, "{stall}");
                assert_eq!(stall.syscall.as_deref(), Some("clock_nanosleep"), "{stall}");
            }
            route => assert_eq!((route, stall.class), ("/ill/burn", Class::Cpu), "{stall}"),
        }
    }
}
