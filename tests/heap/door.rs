//! What the door answers about memory.

use std::{io::Write as _, net::TcpStream, thread, time::Duration};

use thermograph::diagnostics::HeapMode;

use crate::app::{App, alone, is_sampling, wait};

const BOTH: [&str; 2] = ["/debug/pprof/heap", "/debug/pprof/allocs"];

/// A client whose capture runs, for five minutes.
fn long_capture(app: &App, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(app.door()).expect("connected");
    write!(client, "GET {path}?seconds=300 HTTP/1.1\r\nhost: {}\r\n\r\n", app.door())
        .expect("sent");
    wait("jemalloc samples", is_sampling);
    client
}

#[test]
fn the_second_capture_is_told_to_wait_or_takes_over() {
    let _alone = alone();
    let app = App::start(HeapMode::OnDemand);
    for first in BOTH {
        let client = long_capture(&app, first);
        // Both are one kind: sampling is on or off.
        for second in BOTH {
            let (status, told) = app.ask(&format!("{second}?seconds=1"));
            assert_eq!(status, 409, "{told}");
            assert!(told.contains("for another") && told.contains("force=true"), "{told}");
        }
        assert_eq!(app.ask(&format!("{first}?seconds=1&force=true")).0, 200);
        assert!(!is_sampling());
        drop(client);
    }
}

#[test]
fn another_part_of_the_program_is_told_so() {
    let _alone = alone();
    let (app, other) = (App::start(HeapMode::OnDemand), App::start(HeapMode::OnDemand));
    let client = long_capture(&app, "/debug/pprof/heap");
    let (status, told) = other.ask("/debug/pprof/heap?seconds=1");
    assert_eq!((status, told.trim()), (409, "already running, for somebody else in this process"));
    drop(client);
    wait("it is free", || other.ask("/debug/pprof/heap?seconds=1").0 == 200);
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
        ("seconds=301", ["seconds", "`301`", "from 1 to 300"]),
        ("format=png", ["format", "`png`", "pprof, svg, folded"]),
        ("debug=2", ["debug", "`2`", "from 0 to 1"]),
        ("debug=1&format=svg", ["debug=1", "format", "cannot be combined"]),
        ("gc=yes", ["gc", "`yes`", "from 0 to 1"]),
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
    assert_eq!(status, 501, "{text}");
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
