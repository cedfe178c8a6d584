//! What the door answers about captures and stalls.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use axum::{Router, routing::get};
use serde_json::Value;
use thermograph::Stall;

use crate::{
    app::{App, PATIENCE, agent, alone, get_bytes, get_text, wait},
    captures::Wire,
    specimens,
};

/// Status and text of an answer.
fn ask(app: &App, path: &str) -> (u16, String) {
    let mut answer = agent().get(app.diagnostics(path)).call().expect("an answer");
    let go = answer.headers().get("x-go-pprof").is_some();
    let status = answer.status().as_u16();
    assert_eq!(go, status >= 400, "{path}: every error, and no other answer, has Go's header");
    let body = answer.body_mut().read_to_vec().expect("a body");
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn bad_parameters_are_named_with_their_value_and_what_is_allowed() {
    let _alone = alone();
    let app = App::start(Router::new());
    let long = "x".repeat(2_000);
    for (path, parts) in [
        ("/debug/fgprof?seconds=0", ["seconds", "`0`", "from 1 to 300"]),
        ("/debug/pprof/profile?seconds=1.5", ["seconds", "`1.5`", "from 1 to 300"]),
        ("/debug/spans?seconds=301", ["seconds", "`301`", "from 1 to 300"]),
        ("/debug/pprof/profile?frequency=1001", ["frequency", "`1001`", "from 1 to 1000"]),
        ("/debug/fgprof?frequency=0", ["frequency", "`0`", "from 1 to 1000"]),
        ("/debug/fgprof?format=png", ["format", "`png`", "pprof, svg, folded"]),
        ("/debug/pprof/block?debug=yes", ["debug", "`yes`", "a whole number"]),
        ("/debug/pprof/block?debug=1&seconds=1", ["debug=1", "seconds", "cannot be combined"]),
        ("/debug/pprof/block?frequency=1", ["frequency", "allowed here", "route"]),
        ("/debug/pprof/mutex?gc=no", ["gc", "`no`", "a whole number"]),
        ("/debug/stalls?format=xml", ["format", "`xml`", "json, text, events"]),
        (&format!("/debug/stalls?route={long}"), ["route", "2000 bytes", "at most 1024"]),
        ("/debug/pprof/symbol?0x12+zz", ["`zz`", "address", "hex"]),
    ] {
        let (status, text) = ask(&app, path);
        assert_eq!(status, 400, "{path}: {text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{path}: {text}");
    }
    let (status, text) = ask(&app, "/debug/pprof/goroutineleak");
    assert_eq!(status, 404);
    assert!(text.starts_with("Unknown profile"), "{text}");
}

/// A client whose capture runs, for so many seconds, and what the next one was told.
pub(crate) fn long_capture(app: &App, kind: &str, seconds: u32) -> (TcpStream, String) {
    let door = app.diagnostics("").trim_start_matches("http://").to_owned();
    let ask_long = || {
        let mut client = TcpStream::connect(&door).expect("connected");
        client.set_nonblocking(true).expect("set");
        write!(client, "GET {kind}?seconds={seconds} HTTP/1.1\r\nhost: {door}\r\n\r\n")
            .expect("sent");
        client
    };
    let mut client = ask_long();
    let mut told = String::new();
    wait("the capture runs", || {
        let (status, text) = ask(app, &format!("{kind}?seconds=1"));
        told = text;
        if client.peek(&mut [0]).is_ok() {
            // The short one was first, and the long one was refused.
            client = ask_long();
            return false;
        }
        status == 409
    });
    client.set_nonblocking(false).expect("set");
    (client, told)
}

#[test]
fn a_route_filters_what_is_captured() {
    let _alone = alone();
    let app = App::start(specimens::router());
    let load = || {
        thread::scope(|scope| {
            for path in ["/ill/burn", "/ill/json"] {
                scope.spawn(|| {
                    for _ in 0..60 {
                        agent().get(app.url(path)).call().expect("an answer");
                    }
                });
            }
        });
    };
    for path in
        ["/debug/pprof/profile?seconds=2&", "/debug/fgprof?seconds=2&", "/debug/pprof/block?"]
    {
        let profile = thread::scope(|scope| {
            let load = scope.spawn(load);
            let profile = get_bytes(&app.diagnostics(&format!("{path}route=/ill/burn")));
            load.join().expect("no panic");
            profile
        });
        let samples = Wire::decode(&profile).samples();
        assert!(!samples.is_empty(), "{path}");
        for sample in &samples {
            assert_eq!((sample.label("route"), sample.label("method")), ("/ill/burn", "GET"));
            assert!(!sample.label("thread").is_empty(), "{path}");
        }
        assert!(samples.iter().any(|sample| sample.has("specimens::burn")), "{path}");
    }
    let stalls: Value =
        serde_json::from_str(&get_text(&app.diagnostics("/debug/stalls?route=/ill/json")))
            .expect("JSON");
    let stalls = stalls["stalls"].as_array().expect("a list").clone();
    assert!(!stalls.is_empty() && stalls.iter().all(|stall| stall["route"] == "/ill/json"));
    let debug = get_text(&app.diagnostics("/debug/pprof/block?debug=1"));
    assert!(
        debug.starts_with("--- contentions/delay:") && debug.contains("route=/ill/burn"),
        "{debug}"
    );
}

#[test]
fn addresses_have_names() {
    let _alone = alone();
    let app = App::start(Router::new());
    let here = addresses_have_names as *const () as usize;
    let text = get_text(&app.diagnostics(&format!("/debug/pprof/symbol?{here:#x}+0x1")));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "num_symbols: 1");
    assert!(lines[1].starts_with(&format!("{here:#x} ")), "{text}");
    assert!(lines[1].contains("addresses_have_names"), "{text}");
    assert_eq!(lines.len(), 2, "{text}");
    let posted = agent().post(app.diagnostics("/debug/pprof/symbol")).send(format!("{here:#x}"));
    let posted = posted.expect("an answer").body_mut().read_to_string().expect("text");
    assert_eq!(posted.lines().nth(1), Some(lines[1]));
}

/// A handler that waits until it is let go, and how to do that.
fn held() -> (Router, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let handler = move || {
        let released = Arc::clone(&released);
        async move {
            wait_for(&released);
            [("x-request-id", "the-server-s")]
        }
    };
    (Router::new().route("/held", get(handler)), release)
}

#[inline(never)]
fn wait_for(released: &Mutex<mpsc::Receiver<()>>) {
    let released = released.lock().expect("no panic");
    std::hint::black_box(released.recv_timeout(PATIENCE)).expect("released");
}

#[test]
fn a_stall_is_an_event_while_it_lasts_and_another_when_it_has_ended() {
    let _alone = alone();
    for request_id in [Some("the-client-s"), None] {
        let (ill, release) = held();
        let app = App::start(ill);
        let request =
            agent().get(app.diagnostics("/debug/stalls")).header("accept", "text/event-stream");
        let answer = request.call().expect("an answer");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let events = BufReader::new(answer.into_body().into_reader());
        let mut stalls = events.lines().filter_map(|line| {
            let line = line.expect("a line");
            let data = line.strip_prefix("data: ")?;
            Some(serde_json::from_str::<Stall>(data).expect("a stall"))
        });
        let url = app.url("/held");
        let client = thread::spawn(move || {
            let mut request = agent().get(url);
            if let Some(id) = request_id {
                request = request.header("x-request-id", id);
            }
            request.call().expect("an answer").status()
        });
        // The handler still waits when its stall is told.
        let lasting = stalls.next().expect("an event");
        assert_eq!((&*lasting.method, &*lasting.route, lasting.ended), ("GET", "/held", false));
        assert_eq!(lasting.request_id.as_deref(), request_id);
        assert_eq!(lasting.syscall.as_deref(), Some("futex"), "{lasting}");
        assert!(
            lasting.stack.iter().any(|frame| frame.function.ends_with("door::wait_for")),
            "{lasting}"
        );
        assert!(lasting.elapsed_ms >= 10.0 && lasting.thread_id > 0, "{lasting}");
        release.send(()).expect("it waits");
        assert_eq!(client.join().expect("no panic"), 200);
        let ended = stalls.by_ref().find(|stall| stall.ended).expect("an event");
        assert_eq!(ended.id, lasting.id);
        assert!(ended.elapsed_ms > lasting.elapsed_ms);
        // What the server calls it is known with its answer.
        let id = request_id.unwrap_or("the-server-s");
        wait("the stall has the request's name", || {
            app.thermograph.stalls()[0].request_id.as_deref() == Some(id)
        });
    }
}

#[test]
fn a_capture_is_kept_while_every_worker_is_blocked() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let (ill, release) = held();
    let app = App::with(ill, |builder| builder.folder(folder.path()));
    let url = app.url("/held");
    let client = thread::spawn(move || agent().get(url).call().expect("an answer").status());
    wait("one worker is blocked", || app.thermograph.stalls().len() == 1);
    let (runs, running) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    app.spawn(async move {
        runs.send(()).expect("waited for");
        ended.recv_timeout(PATIENCE).expect("released");
    });
    running.recv_timeout(PATIENCE).expect("the other is blocked too");
    let url = app.diagnostics("/debug/captures?kind=wall&seconds=1&route=/held");
    let mut taken = agent().post(url).send_empty().expect("an answer");
    assert_eq!(taken.status(), 201);
    let taken = taken.body_mut().read_to_string().expect("text");
    let taken: Value = serde_json::from_str(&taken).expect("JSON");
    assert_eq!((&taken["kind"], &taken["handler"]), (&"wall".into(), &"GET-held".into()));
    assert!(taken["samples"].as_u64() > Some(0), "{taken}");
    let picture = folder.path().join(taken["files"][2].as_str().expect("a path"));
    let svg = std::fs::read_to_string(picture).expect("a picture");
    assert!(svg.contains("Wall-clock time in polls · GET /held"), "{svg}");
    assert!(svg.contains("door::wait_for"), "{svg}");
    let listing: Value =
        serde_json::from_str(&get_text(&app.diagnostics("/debug/captures"))).expect("JSON");
    assert_eq!(listing["captures"][0]["name"], taken["name"]);
    end.send(()).expect("it waits");
    release.send(()).expect("it waits");
    assert_eq!(client.join().expect("no panic"), 200);
}

#[test]
fn a_handler_that_waits_has_its_wall_clock_time_by_system_call() {
    let _alone = alone();
    let (ill, release) = held();
    let app = App::start(ill);
    let url = app.url("/held");
    let client = thread::spawn(move || agent().get(url).call().expect("an answer").status());
    wait("the handler waits", || app.thermograph.stalls().len() == 1);
    let wall = Wire::decode(&get_bytes(&app.diagnostics("/debug/fgprof?seconds=1")));
    let samples = wall.samples();
    let held = samples.iter().filter(|sample| sample.label("route") == "/held");
    let off: i64 = held
        .filter(|sample| sample.label("state") == "off-cpu" && sample.label("syscall") == "futex")
        .map(|sample| sample.value)
        .sum();
    // A second, less what was not looked at for the load of the machine.
    assert!(Duration::from_nanos(off.cast_unsigned()) > Duration::from_millis(500), "{off} ns");
    release.send(()).expect("it waits");
    assert_eq!(client.join().expect("no panic"), 200);
}
