//! Memory sampled from the start.

use std::thread;

use thermograph::diagnostics::HeapMode;

use crate::{
    app::{App, HOARDED, alone, get_bytes, is_sampling, wait},
    wire::Wire,
};

#[test]
fn what_was_allocated_since_the_start_is_told_at_once() {
    let _alone = alone();
    let app = App::start(HeapMode::Always);
    assert!(is_sampling());
    app.visit("/hoard");
    let live = |path: &str| {
        let profile = Wire::decode(&get_bytes(&app.diagnostics(path)));
        profile.sum("inuse_space", "app::hoard", "/hoard")
    };
    let before = live("/debug/pprof/heap");
    assert!(before > HOARDED as i64 / 2, "{before}");
    // In a window is what was allocated in it, as on demand.
    let in_window = thread::scope(|scope| {
        let taken = scope.spawn(|| live("/debug/pprof/heap?seconds=2"));
        wait("the window has begun", || app.ask("/debug/pprof/heap?seconds=1").0 == 409);
        app.visit("/release");
        app.visit("/hoard");
        assert!(!taken.is_finished(), "the window was too short for this machine");
        taken.join().expect("no panic")
    });
    assert!(in_window > HOARDED as i64 / 2, "{in_window}");
    app.visit("/release");
    assert_eq!(live("/debug/pprof/heap"), 0);
    assert!(is_sampling(), "it goes on");
    drop(app);
    wait("sampling has ended", || !is_sampling());
}
