//! What a profile of memory shows: the function that allocated, how much, and whose work it did.

use std::{process::Command, thread};

use thermograph::HeapMode;

use crate::{
    app::{App, CHURNED, HOARDED, PIECE, alone, get_bytes, is_sampling, tool, wait},
    wire::Wire,
};

/// Captures while the handlers are asked once each, after sampling has begun.
fn capture(app: &App, path: &str) -> Vec<u8> {
    thread::scope(|scope| {
        let taken = scope.spawn(|| get_bytes(&app.diagnostics(path)));
        wait("jemalloc samples", is_sampling);
        app.visit("/hoard");
        app.visit("/churn");
        assert!(!taken.is_finished(), "the window was too short for this machine");
        taken.join().expect("no panic")
    })
}

/// Within a third: of 128 MiB some 256 pieces are sampled, which is right within a tenth as a rule.
fn is_about(measured: i64, real: usize) -> bool {
    let (measured, real) = (measured as f64, real as f64);
    (real * 2.0 / 3.0..real * 4.0 / 3.0).contains(&measured)
}

#[test]
fn functions_have_what_they_allocated_and_what_of_it_lives() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    for (path, last) in [
        ("/debug/pprof/heap?seconds=3", "inuse_space/bytes"),
        ("/debug/pprof/allocs?seconds=3", "alloc_space/bytes"),
    ] {
        // What was there before the window is not in it, and is not counted when it goes.
        app.visit("/hoard");
        let profile = Wire::decode(&capture(&app, path));
        app.visit("/release");
        assert!(!is_sampling(), "{path}: sampling ends with the window");
        assert_eq!(profile.kinds().last().map(String::as_str), Some(last), "{path}");
        let hoard = |kind| profile.sum(kind, "app::hoard", "/hoard");
        let churn = |kind| profile.sum(kind, "app::churn", "/churn");
        for (measured, real) in [
            (hoard("alloc_space"), HOARDED),
            (hoard("inuse_space"), HOARDED),
            (hoard("inuse_objects"), HOARDED / PIECE),
            (churn("alloc_space"), CHURNED),
            (churn("alloc_objects"), CHURNED / PIECE),
        ] {
            assert!(is_about(measured, real), "{path}: {measured} measured, {real} allocated");
        }
        assert_eq!(churn("inuse_space"), 0, "{path}");
    }
}

#[test]
fn go_tool_pprof_reads_both() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    for (path, kind, function) in [
        ("/debug/pprof/heap?seconds=2", "Type: inuse_space", "app::hoard"),
        ("/debug/pprof/allocs?seconds=2", "Type: alloc_space", "app::churn"),
    ] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), capture(&app, path)).expect("written");
        app.visit("/release");
        let top = |arguments: &[&str]| {
            let mut go = Command::new(tool("go"));
            go.args(["tool", "pprof", "-top", "-cum"]).args(arguments).arg(file.path());
            let output = go.output().expect("go runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let shown = top(&[]);
        assert!(shown.contains(kind) && shown.contains(function), "{path}: {shown}");
        let live = top(&["-sample_index=inuse_space"]);
        assert!(live.contains("app::hoard") && !live.contains("app::churn"), "{path}: {live}");
        let tree = top(&["-tagroot=route"]);
        assert!(tree.lines().any(|line| line.ends_with("/hoard")), "{path}: {tree}");
    }
}

#[test]
fn pictures_leave_the_machinery_out_and_profiles_the_allocator() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    let picture = capture(&app, "/debug/pprof/heap?seconds=2&format=svg");
    let picture = String::from_utf8(picture).expect("text");
    app.visit("/release");
    assert!(picture.contains("Memory in use"), "a title");
    assert!(picture.contains("what was there before is not in it"), "what it cannot show");
    assert!(picture.contains("app::hoard (") && picture.contains(" bytes, "), "{picture}");
    for machinery in ["_rjem", "prof_backtrace", "__rust_alloc", "alloc::alloc", "RawVec"] {
        assert!(!picture.contains(machinery), "{machinery} is in the picture");
    }
    let folded = capture(&app, "/debug/pprof/heap?seconds=2&format=folded");
    app.visit("/release");
    let folded = String::from_utf8(folded).expect("text");
    let hoard = folded.lines().find(|line| line.contains("app::hoard")).expect("a stack");
    assert!(hoard.contains(";tokio::runtime::"), "{hoard}");
    assert!(!hoard.contains("_rjem") && !hoard.contains("prof_backtrace"), "{hoard}");
}

#[test]
fn a_route_filters_and_text_tells_values_and_labels() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    let profile = Wire::decode(&capture(&app, "/debug/pprof/allocs?seconds=2&route=/churn&gc=1"));
    let routes = profile.routes();
    assert!(!routes.is_empty() && routes.iter().all(|route| *route == Some("/churn")));
    let text = capture(&app, "/debug/pprof/heap?seconds=2&debug=1");
    let text = String::from_utf8(text).expect("text");
    app.visit("/release");
    let kinds = "--- alloc_objects/alloc_space/inuse_objects/inuse_space:";
    assert!(text.starts_with(kinds) && text.contains("route=/hoard"), "{text}");
}

#[test]
fn memory_and_cpu_time_are_captured_together() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    thread::scope(|scope| {
        let cpu = "/debug/pprof/profile?seconds=3&frequency=999";
        let cpu = scope.spawn(|| get_bytes(&app.diagnostics(cpu)));
        let memory = scope.spawn(|| get_bytes(&app.diagnostics("/debug/pprof/allocs?seconds=3")));
        while !cpu.is_finished() {
            app.visit("/churn");
        }
        let memory = Wire::decode(&memory.join().expect("no panic"));
        assert!(memory.sum("alloc_space", "app::churn", "/churn") > 0);
        cpu.join().expect("no panic");
    });
}
