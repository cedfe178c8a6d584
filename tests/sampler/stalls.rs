//! Every illness is found, named and classed; the healthy are left in peace.

use std::{collections::BTreeMap, thread, time::Duration};

use axum::{Router, routing::get};
use thermograph::diagnostics::{Class, Stacks, Stall};

use crate::{
    app::{App, agent, alone, wait},
    hogs::Hogs,
    specimens::{self, SPECIMENS, Specimen},
};

/// Calls of each specimen, from two clients.
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

/// What must be right of a stall, and whether it is.
type Check<'a> = (&'a str, &'a dyn Fn(&Stall) -> bool);

/// Calls a specimen until 95 % of the stalls are as they must be, and at most four times: while
/// something else keeps the machine busy, a poll is preempted in truth, or the watchdog comes late
/// and has to guess.
fn assert_most(app: &App, path: &str, checks: &[Check<'_>]) -> Vec<Stall> {
    for round in 1..=4 {
        let before = app.thermograph.stalls().first().map_or(0, |stall| stall.id);
        app.with_healthy_load(|| call(app, path, CALLS));
        let mut stalls = app.stalls_of(path, CALLS * round);
        stalls.retain(|stall| stall.id > before);
        // One for every call; the rest of a request may be preempted.
        let at_fault = stalls.iter().filter(|stall| stall.class != Class::Preempted).count();
        assert!(at_fault <= CALLS && stalls.len() >= CALLS, "{path}: {}", summary(&stalls));
        let right =
            |check: &dyn Fn(&Stall) -> bool| stalls.iter().filter(|&one| check(one)).count();
        let wrong = checks.iter().find(|(_, check)| right(check) * 100 < CALLS * 95);
        let Some((what, check)) = wrong else { return stalls };
        println!("{path}: {what} is right in {} only\n{}", right(check), summary(&stalls));
    }
    panic!("{path}: it is wrong each time");
}

fn assert_specimen(app: &App, specimen: &Specimen) -> Vec<Stall> {
    let Specimen { path, function, class, syscalls } = specimen;
    let has_syscall = |stall: &Stall| match &stall.syscall {
        Some(syscall) => syscalls.contains(&syscall.as_str()),
        None => syscalls.is_empty(),
    };
    let has_place = |stall: &Stall| {
        stall.stack.iter().any(|frame| {
            frame.function.ends_with(function)
                && frame.file.ends_with("tests/sampler/specimens.rs")
                && frame.line > 0
        })
    };
    let checks: [Check<'_>; 3] = [
        ("class", &|stall| stall.class == *class),
        ("system call", &has_syscall),
        ("function, file and line", &has_place),
    ];
    assert_most(app, path, &checks)
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
    stalls.retain(|stall| stall.route.starts_with("/healthy") && stall.class != Class::Preempted);
    assert!(stalls.is_empty(), "{}", stalls.iter().map(ToString::to_string).collect::<String>());
}

#[test]
fn every_specimen_is_named_and_classed_beside_healthy_handlers() {
    let _alone = alone();
    let app = App::start(specimens::router());
    for specimen in &SPECIMENS {
        let stalls = assert_specimen(&app, specimen);
        let mut after: Vec<_> = stalls.iter().filter_map(|stall| stall.captured_after_ms).collect();
        after.sort_by(f64::total_cmp);
        println!(
            "{}: stack {:?} ms after the threshold (median)",
            specimen.path,
            after.get(after.len() / 2)
        );
    }
    assert_healthy(&app);
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
    assert!(stalls.iter().all(|stall| stall.class == Class::Preempted), "{}", summary(&stalls));
}

#[test]
fn without_signals_a_stall_still_has_its_handler_and_system_call() {
    let _alone = alone();
    let app = App::with(specimens::router(), |builder| builder.stacks(Stacks::Off));
    for (path, class, syscall) in
        [("/ill/sleep", Class::Blocked, Some("clock_nanosleep")), ("/ill/burn", Class::Cpu, None)]
    {
        let checks: [Check<'_>; 2] = [
            ("class", &|stall| stall.class == class),
            ("system call", &|stall| stall.syscall.as_deref() == syscall),
        ];
        let stalls = assert_most(&app, path, &checks);
        assert!(stalls.iter().all(|stall| stall.stack.is_empty()), "{}", summary(&stalls));
    }
}
