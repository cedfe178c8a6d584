//! `assert_no_stall`, as a test of somebody's own app uses it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use thermograph::Diagnosis;

use crate::{
    app::{App, agent, alone, get_text, wait},
    specimens,
};

fn get(app: &App, path: &str) {
    assert_eq!(agent().get(app.url(path)).call().expect("an answer").status(), 200);
}

#[test]
fn it_fails_with_handler_class_and_stack() {
    let _alone = alone();
    let app = App::start(specimens::router());
    let guard = app.thermograph.assert_no_stall();
    get(&app, "/ill/sleep");
    // The stall is known as soon as the answer is.
    let panic = catch_unwind(AssertUnwindSafe(|| drop(guard))).expect_err("it fails");
    let message = panic.downcast_ref::<String>().expect("a message");
    for part in
        ["GET /ill/sleep", "blocked in clock_nanosleep", "sleep_on_the_worker", "specimens.rs:"]
    {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn it_passes_when_all_are_well_and_forgives_what_was_before() {
    let _alone = alone();
    let app = App::start(specimens::router());
    get(&app, "/ill/sleep");
    assert_eq!(app.thermograph.assert_no_stall().stalls().len(), 0);
    let guard = app.thermograph.assert_no_stall();
    app.with_healthy_load(|| get(&app, "/healthy/sleep"));
    drop(guard);
}

#[test]
fn guard_passes_over_a_poll_that_hands_its_worker_over() {
    let _alone = alone();
    let app = App::start(specimens::router());
    let guard = app.thermograph.assert_no_stall();
    get(&app, "/in-place");
    let stalls = app.stalls_of("/in-place", 1);
    assert!(stalls[0].in_place && stalls[0].to_string().contains("block_in_place"), "{stalls:?}");
    assert!(guard.stalls().is_empty());
    drop(guard);
}

#[test]
fn diagnosis_and_guard_without_hooks_name_the_blocks_that_go_unseen() {
    let _alone = alone();
    let said = |app: &App| {
        let gap = app.thermograph.assert_no_stall().gap();
        let asked = ["", "?seconds=1"].map(|query| {
            let diagnosis = get_text(&app.diagnostics(&format!("/debug/diagnosis{query}")));
            let diagnosis: Diagnosis = serde_json::from_str(&diagnosis).expect("a diagnosis");
            diagnosis.notes.iter().any(|note| note.contains("outside of handlers"))
        });
        (gap.is_some_and(|gap| gap.contains("outside of handlers")), asked)
    };
    assert_eq!(said(&App::start(specimens::router())), (true, [true, true]));
    let hooked = App::hooked(specimens::router());
    wait("a task has been reported", || {
        get(&hooked, "/healthy/hello");
        hooked.thermograph.assert_no_stall().gap().is_none()
    });
    assert_eq!(said(&hooked), (false, [false, false]));
}
