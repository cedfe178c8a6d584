//! Memory sampled from the start.

use std::{thread, time::Duration};

use thermograph::HeapMode;

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
    let hoarded = |profile: &[u8]| Wire::decode(profile).sum("inuse_space", "app::hoard", "/hoard");
    let live = || hoarded(&get_bytes(&app.diagnostics("/debug/pprof/heap")));
    let half = i64::try_from(HOARDED / 2).expect("a size");
    let before = live();
    assert!(before > half, "{before}");
    // In a window is what was allocated in it, as on demand.
    let in_window = thread::scope(|scope| {
        let window = "/debug/pprof/heap?seconds=10";
        let taken = scope.spawn(|| hoarded(&get_bytes(&app.diagnostics(window))));
        // Until it has begun.
        thread::sleep(Duration::from_secs(2));
        app.visit("/release");
        app.visit("/hoard");
        assert!(!taken.is_finished(), "the window was too short for this machine");
        taken.join().expect("no panic")
    });
    assert!(in_window > half, "{in_window}");
    app.visit("/release");
    assert_eq!(live(), 0);
    assert!(is_sampling(), "it goes on");
    drop(app);
    let other = App::start(HeapMode::OnDemand);
    wait("sampling has ended", || other.ask("/debug/pprof/heap?seconds=1").0 == 200);
    assert!(!is_sampling());
}
