//! Memory as a scraper asks for it: without `seconds`, again and again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thermograph::HeapMode;

use crate::{
    app::{App, CHURNED, HOARDED, alone, get_bytes, is_sampling},
    wire::Wire,
};

/// Grafana Alloy gives up after ten seconds, and a window lasts that long by default; at once is
/// less than a second, but for a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(8);

fn scrape(app: &App, path: &str) -> Wire {
    let asked = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let profile = Wire::decode(&get_bytes(&app.diagnostics(path)));
    // Scrapers put it where its time says: now.
    let time = Duration::from_nanos(profile.time_nanos());
    assert!(time >= asked, "{path}: {time:?} is before {asked:?}");
    profile
}

/// A scrape that has no names to look up any more.
fn scrape_again(app: &App, path: &str) -> Wire {
    let asked = Instant::now();
    let profile = scrape(app, path);
    assert!(asked.elapsed() < AT_ONCE, "{path}: it took {:?}", asked.elapsed());
    profile
}

fn is_about(measured: i64, real: usize) -> bool {
    let (measured, real) = (measured as f64, real as f64);
    (real * 2.0 / 3.0..real * 4.0 / 3.0).contains(&measured)
}

#[test]
fn the_difference_of_two_answers_is_what_happened_in_between() {
    for mode in [HeapMode::OnDemand, HeapMode::Always] {
        let _alone = alone();
        let app = App::start(mode);
        let churned = |profile: &Wire| profile.sum("alloc_space", "app::churn", "/churn");
        let hoarded = |profile: &Wire| profile.sum("inuse_space", "app::hoard", "/hoard");
        // On demand, the first one begins it.
        scrape(&app, "/debug/pprof/allocs");
        assert!(is_sampling(), "{mode:?}: it does not go on");
        let mut before = churned(&scrape(&app, "/debug/pprof/allocs"));
        for _ in 0..3 {
            app.visit("/churn");
            let after = scrape(&app, "/debug/pprof/allocs");
            let added = churned(&after) - before;
            assert!(is_about(added, CHURNED), "{mode:?}: {added} added, {CHURNED} allocated");
            before = churned(&after);
        }
        // Nothing happened: nothing changed. Nor does a window in between change anything.
        assert_eq!(churned(&scrape_again(&app, "/debug/pprof/allocs")), before, "{mode:?}");
        assert_eq!(app.bytes("/debug/pprof/allocs?seconds=1").0, 200);
        assert_eq!(churned(&scrape(&app, "/debug/pprof/heap")), before, "{mode:?}");
        assert_eq!(churned(&scrape_again(&app, "/debug/pprof/heap")), before, "{mode:?}");
        app.visit("/hoard");
        let live = hoarded(&scrape(&app, "/debug/pprof/heap"));
        assert!(is_about(live, HOARDED), "{mode:?}: {live} live, {HOARDED} allocated");
        app.visit("/release");
        assert_eq!(hoarded(&scrape(&app, "/debug/pprof/heap")), 0, "{mode:?}");
        drop(app);
        assert!(!is_sampling(), "{mode:?}: it goes on without the app");
    }
}

#[test]
fn go_s_debug_and_gc_are_taken() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    for path in ["/debug/pprof/heap", "/debug/pprof/allocs"] {
        for query in ["debug=1", "debug=2", "debug=1&gc=1", "debug=-1"] {
            let (status, text) = app.ask(&format!("{path}?{query}"));
            assert_eq!(status, 200, "{path}?{query}: {text}");
            assert!(text.starts_with("--- "), "{path}?{query}: {text}");
        }
        for query in ["debug=0", "gc=1", "gc=7", "seconds=1&gc=1"] {
            assert_eq!(app.bytes(&format!("{path}?{query}")).0, 200, "{path}?{query}");
        }
    }
}
