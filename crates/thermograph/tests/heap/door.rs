//! What the door answers about memory.

use std::{net::TcpStream, thread, time::Duration};

use thermograph::HeapMode;

use crate::{
    app::{App, alone, fill_captures, is_sampling, reader, wait},
    wire::Wire,
};

const BOTH: [&str; 2] = ["/debug/pprof/heap", "/debug/pprof/allocs"];

/// A client whose capture runs, for five minutes.
fn long_capture(app: &App, path: &str) -> TcpStream {
    let client = reader(&app.door(), path);
    wait("jemalloc samples", is_sampling);
    client
}

#[test]
fn captures_that_overlap_share_the_samples() {
    let _alone = alone();
    let (app, other) = (App::start(HeapMode::OnDemand), App::start(HeapMode::OnDemand));
    for first in BOTH {
        let client = long_capture(&app, first);
        app.visit("/churn");
        // Another app in the process is no other either.
        for (app, second) in [(&app, BOTH[0]), (&app, BOTH[1]), (&other, BOTH[1])] {
            let (status, profile) = thread::scope(|scope| {
                let taken = scope.spawn(|| app.bytes(&format!("{second}?seconds=1&force=true")));
                while !taken.is_finished() {
                    thread::sleep(Duration::from_millis(10));
                }
                taken.join().expect("no panic")
            });
            assert_eq!(status, 200);
            let churned = Wire::decode(&profile).sum("alloc_space", "app::churn", "/churn");
            assert_eq!(churned, 0, "that was before its window");
            assert!(is_sampling(), "the first was ended");
        }
        drop(client);
        wait("sampling has ended", || !is_sampling());
    }
}

#[test]
fn past_the_most_windows_one_more_is_told() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    let (clients, answer) = fill_captures(&app.door(), BOTH[0]);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("16 captures of this kind are running"), "{answer}");
    assert_eq!(app.ask("/debug/pprof/allocs?seconds=1").0, 503);
    // Without a window there is always room.
    assert_eq!(app.bytes("/debug/pprof/allocs").0, 200);
    drop(clients);
    wait("there is room", || app.ask("/debug/pprof/allocs?seconds=1").0 == 200);
}

#[test]
fn sampling_ends_when_the_client_leaves() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    for path in BOTH {
        drop(long_capture(&app, path));
        wait("sampling has ended", || !is_sampling());
        wait("the turn is free", || app.ask(&format!("{path}?seconds=1")).0 == 200);
    }
}

#[test]
fn sampling_that_somebody_else_turned_on_stays_on() {
    use tikv_jemalloc_ctl::{Access as _, AsName as _};
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    let active = "prof.active\0".name();
    active.write(true).expect("written");
    let (status, _) = app.ask("/debug/pprof/heap?seconds=1");
    let is_left = is_sampling();
    active.write(false).expect("written");
    assert_eq!((status, is_left), (200, true));
}

#[test]
fn it_answers_while_every_worker_allocates() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..20).for_each(|_| app.visit("/churn")))).collect();
        while clients.iter().any(|client| !client.is_finished()) {
            assert_eq!(app.ask("/debug/pprof/allocs?seconds=1&format=svg").0, 200);
            thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn bad_parameters_are_named_with_their_value_and_what_is_allowed() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    for (query, parts) in [
        ("seconds=0", ["seconds", "`0`", "from 1 to 300"]),
        ("format=png", ["format", "`png`", "pprof, svg, folded"]),
        ("debug=two", ["debug", "`two`", "a whole number"]),
        ("debug=1&format=svg", ["debug=1", "format", "cannot be combined"]),
        ("gc=yes", ["gc", "`yes`", "a whole number"]),
        ("frequency=99", ["frequency", "allowed here", "seconds"]),
        ("force=maybe", ["force", "`maybe`", "false, true"]),
    ] {
        for path in BOTH {
            let (status, text) = app.ask(&format!("{path}?{query}"));
            assert_eq!(status, 400, "{query}: {text}");
            assert!(parts.iter().all(|part| text.contains(part)), "{query}: {text}");
        }
    }
    let app = App::start(HeapMode::Off);
    let (status, text) = app.ask("/debug/pprof/heap");
    assert_eq!(status, 404, "{text}");
    assert!(text.contains("heap = \"off\"") && text.contains("on-demand or always"), "{text}");
}

#[test]
fn memory_tells_what_is_allocated_from_what_the_allocator_keeps() {
    const MIB: u64 = 1 << 20;
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    let figures = || {
        let (status, text) = app.ask("/debug/memory");
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let bytes = |memory: &serde_json::Value, figure: &str| {
        memory[figure].as_u64().unwrap_or_else(|| panic!("no {figure} in {memory}"))
    };
    app.visit("/hoard");
    let held = figures();
    app.visit("/release");
    let released = figures();
    assert_eq!(held["allocator"], "jemalloc");
    for memory in [&held, &released] {
        let [allocated, active, resident] =
            ["allocated", "active", "resident"].map(|figure| bytes(memory, figure));
        assert!(allocated <= active && active <= resident, "{memory}");
        assert!(bytes(memory, "mapped") > 0 && bytes(memory, "retained") > 0, "{memory}");
    }
    let fallen = bytes(&held, "allocated") - bytes(&released, "allocated");
    assert!(fallen > 100 * MIB, "{held} {released}");
    let (_, text) = app.ask("/debug/memory?format=text");
    for part in ["resident set", "allocator allocated", "allocator retained", "MiB resident"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let (_, metrics) = app.ask("/metrics");
    for name in ["resident_set", "allocator_allocated", "allocator_active", "allocator_retained"] {
        assert!(metrics.contains(&format!("\nthermograph_{name}_bytes ")), "{name}: {metrics}");
    }
}
