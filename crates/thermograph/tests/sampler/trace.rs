//! Timelines, as strictly as Perfetto reads them: every field of every event is known.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::Read as _,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use axum::{Router, routing::get};
use flate2::read::GzDecoder;
use serde::Deserialize;
use thermograph::Thermograph;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{
    app::{App, agent, alone, get_bytes, wait},
    door::long_capture,
    specimens,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Trace {
    display_time_unit: String,
    other_data: Metadata,
    #[serde(rename = "traceEvents")]
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    made_by: String,
    began: String,
    seconds: f64,
    dropped: BTreeMap<String, u64>,
    notes: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "ph")]
enum Event {
    #[serde(rename = "M")]
    Named { name: String, pid: u32, tid: u32, args: Name },
    #[serde(rename = "X")]
    Complete(Complete),
    #[serde(rename = "b")]
    Begin(Async),
    #[serde(rename = "e")]
    End(Async),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Complete {
    name: String,
    cat: String,
    ts: f64,
    dur: f64,
    pid: u32,
    tid: u32,
    args: Args,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Async {
    name: String,
    cat: String,
    id: String,
    ts: f64,
    pid: u32,
    tid: u32,
    args: Args,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Args {
    request_id: Option<String>,
    task: Option<u64>,
    poll: Option<u32>,
    cut: Option<String>,
    outcome: Option<String>,
    class: Option<String>,
    syscall: Option<String>,
    stack: Vec<String>,
    at: Option<String>,
}

/// Nanoseconds of a number of microseconds, which is exact in them.
fn nanoseconds(micros: f64) -> u64 {
    assert!(micros.is_finite() && micros >= 0.0, "{micros}");
    (micros * 1e3).round() as u64
}

impl Trace {
    /// Reads it, and checks all that a reader relies on.
    fn read(json: &[u8]) -> Self {
        let trace: Self = serde_json::from_slice(json).expect("known fields, and all of them");
        assert_eq!(trace.display_time_unit, "ms");
        assert!(trace.other_data.made_by.starts_with("thermograph "));
        assert!(trace.other_data.began.ends_with('Z'), "{}", trace.other_data.began);
        let length = nanoseconds(trace.other_data.seconds * 1e6);
        trace.check_names();
        trace.check_nesting(length);
        trace.check_requests(length);
        trace
    }

    fn complete(&self, cat: &str) -> Vec<&Complete> {
        let complete = self.events.iter().filter_map(|event| match event {
            Event::Complete(complete) if complete.cat == cat => Some(complete),
            _ => None,
        });
        complete.collect()
    }

    /// Every process and thread that something is on has one name.
    fn check_names(&self) {
        let mut names = HashMap::new();
        for event in &self.events {
            if let Event::Named { name, pid, tid, args } = event {
                assert!(["process_name", "thread_name"].contains(&&**name), "{name}");
                assert!(!args.name.is_empty());
                let before = names.insert((name.as_str(), *pid, *tid), &args.name);
                assert!(before.is_none(), "{event:?}");
            }
        }
        for event in &self.events {
            if let Event::Complete(Complete { pid, tid, .. }) = event {
                assert!(names.contains_key(&("process_name", *pid, 0)), "{event:?}");
                assert!(names.contains_key(&("thread_name", *pid, *tid)), "{event:?}");
            }
        }
    }

    /// On each thread events are in order, inside of the recording, and end inside of what they are
    /// in.
    fn check_nesting(&self, length: u64) {
        let mut around: Vec<(u32, u32, u64)> = Vec::new();
        let mut seen = HashSet::new();
        let mut last = (0, 0, 0);
        for event in &self.events {
            let Event::Complete(Complete { name, cat, ts, dur, pid, tid, .. }) = event else {
                continue;
            };
            assert!(!name.is_empty() && ["poll", "task", "stall", "span"].contains(&&**cat));
            let (start, end) = (nanoseconds(*ts), nanoseconds(*ts) + nanoseconds(*dur));
            assert!(end <= length + 1_000, "{event:?} is not in {length}");
            if (last.0, last.1) == (*pid, *tid) {
                assert!(last.2 <= start, "{event:?} is out of order");
            } else {
                assert!(seen.insert((*pid, *tid)), "{event:?} is apart from its thread");
                around.clear();
            }
            last = (*pid, *tid, start);
            while around.last().is_some_and(|(.., outer)| *outer <= start) {
                around.pop();
            }
            assert!(around.last().is_none_or(|(.., outer)| end <= *outer), "{event:?} crosses");
            around.push((*pid, *tid, end));
        }
    }

    /// Each begin has its end, of the same name and not before it.
    fn check_requests(&self, length: u64) {
        let mut open = HashMap::new();
        for event in &self.events {
            match event {
                Event::Begin(begin) => {
                    assert_eq!(begin.cat, "request");
                    assert!(begin.id.starts_with("0x") && begin.tid < u32::MAX, "{begin:?}");
                    assert!(begin.args.outcome.is_some(), "{begin:?}");
                    assert!(open.insert((begin.pid, &begin.id), begin).is_none(), "{begin:?}");
                }
                Event::End(end) => {
                    let begin = open.remove(&(end.pid, &end.id)).expect("it has begun");
                    assert_eq!((&begin.name, &begin.cat), (&end.name, &end.cat));
                    assert!(nanoseconds(begin.ts) <= nanoseconds(end.ts));
                    assert!(nanoseconds(end.ts) <= length + 1_000, "{end:?}");
                }
                _ => {}
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    fn requests(&self) -> Vec<&Async> {
        let begun = self.events.iter().filter_map(|event| match event {
            Event::Begin(begin) => Some(begin),
            _ => None,
        });
        begun.collect()
    }
}

/// A recording of a second or more, in which `during` is done.
fn record<T>(app: &App, query: &str, during: impl FnOnce() -> T) -> (Trace, T) {
    thread::scope(|scope| {
        let url = app.diagnostics(&format!("/debug/pprof/trace?{query}"));
        let recording = scope.spawn(move || get_bytes(&url));
        let done = during();
        (Trace::read(&recording.join().expect("no panic")), done)
    })
}

/// Asks until the recording has begun and ended, so that some requests are in the midst of it.
fn ask_for(app: &App, path: &str, id: &str, length: Duration) {
    let start = std::time::Instant::now();
    while start.elapsed() < length {
        let answer = agent().get(app.url(path)).header("x-request-id", id).call();
        assert_eq!(answer.expect("an answer").status(), 200);
    }
}

#[test]
fn polls_tasks_stalls_and_requests_are_on_their_threads() {
    let _alone = alone();
    let app = App::hooked(specimens::router());
    let (trace, ()) = record(&app, "seconds=2", || {
        app.with_healthy_load(|| ask_for(&app, "/ill/sleep", "an-id", Duration::from_secs(1)));
    });
    assert!(trace.other_data.seconds >= 2.0 && trace.other_data.seconds < 60.0);
    let polls = trace.complete("poll");
    let of = |name: &str| polls.iter().filter(|poll| poll.name == name).collect::<Vec<_>>();
    for name in ["GET /healthy/sleep", "GET /healthy/yield", "GET /ill/sleep"] {
        assert!(!of(name).is_empty(), "{name}");
    }
    // A handler that awaits is polled twice.
    assert!(of("GET /healthy/sleep").iter().any(|poll| poll.args.poll == Some(2)));
    for poll in of("GET /ill/sleep") {
        assert!(poll.args.task.is_some() && poll.pid == 1, "{poll:?}");
    }
    let ill = of("GET /ill/sleep").into_iter().find(|poll| poll.dur > 10_000.0).expect("long");
    assert_eq!(ill.args.request_id.as_deref(), Some("an-id"));
    // Each is inside of the poll of its connection's task.
    let tasks = trace.complete("task");
    let around = tasks.iter().find(|task| {
        task.tid == ill.tid && task.ts <= ill.ts && task.ts + task.dur >= ill.ts + ill.dur
    });
    assert!(around.is_some_and(|task| task.name.contains("axum-0.8")), "{around:?}");

    let stalls = trace.complete("stall");
    let stall = stalls.iter().find(|stall| stall.name == "GET /ill/sleep").expect("a stall");
    assert_eq!((stall.pid, stall.args.class.as_deref()), (2, Some("blocked")), "{stall:?}");
    assert_eq!(stall.args.syscall.as_deref(), Some("clock_nanosleep"));
    assert!(stall.args.stack.iter().any(|frame| frame.contains("specimens::")), "{stall:?}");

    let requests = trace.requests();
    let ill = requests.iter().find(|request| request.name == "GET /ill/sleep").expect("there");
    assert_eq!(ill.args.request_id.as_deref(), Some("an-id"));
    assert_eq!(ill.args.outcome.as_deref(), Some("answered"));
    assert_eq!(trace.other_data.dropped.values().sum::<u64>(), 0, "{:?}", trace.other_data);
    assert!(trace.other_data.notes[0].contains("tracing_layer()"), "{:?}", trace.other_data);
}

#[test]
fn what_lasts_is_there_also_while_every_worker_is_blocked() {
    let _alone = alone();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let blocks = move || {
        let released = Arc::clone(&released);
        async move {
            let too = Arc::clone(&released);
            tokio::spawn(async move { receive(&too) });
            // The newest task of a worker is the one that no other worker takes.
            tokio::spawn(async {});
            receive(&released);
        }
    };
    let waits = get(async || tokio::time::sleep(Duration::from_mins(10)).await);
    let app = App::hooked(Router::new().route("/blocks", get(blocks)).route("/waits", waits));
    let url = app.url("/waits");
    let waiting = thread::spawn(move || agent().get(url).call().is_ok());
    let of = |route: &str, state: &str| {
        let all = get_bytes(&app.diagnostics(&format!("/debug/tasks?route={route}")));
        let all: serde_json::Value = serde_json::from_slice(&all).expect("JSON");
        let tasks = all["tasks"].as_array().expect("a list").iter();
        tasks.filter(|task| task["state"] == state).count()
    };
    wait("it waits", || of("/waits", "waiting") == 1);
    let url = app.url("/blocks");
    let client = thread::spawn(move || agent().get(url).call().expect("an answer").status());
    wait("every worker is blocked", || of("/blocks", "running") == 2);
    let (trace, ()) = record(&app, "seconds=1", || ());
    let lasting: Vec<_> =
        trace.complete("task").into_iter().chain(trace.complete("poll")).collect();
    let blocked = lasting.iter().filter(|poll| poll.name == "GET /blocks").collect::<Vec<_>>();
    assert!(blocked.len() >= 2, "{lasting:#?}");
    for poll in blocked {
        assert_eq!((poll.ts, poll.args.cut.is_some()), (0.0, true), "{poll:?}");
        assert!(poll.dur >= 1e6, "{poll:?}");
    }
    let threads: HashSet<_> = lasting.iter().map(|poll| poll.tid).collect();
    assert_eq!(threads.len(), 2, "{lasting:#?}");
    let requests = trace.requests();
    let waits = requests.iter().find(|request| request.name == "GET /waits").expect("there");
    assert_eq!(waits.args.outcome.as_deref(), Some("in flight"));
    for _ in 0..2 {
        release.send(()).expect("it waits");
    }
    assert_eq!(client.join().expect("no panic"), 200);
    drop(app);
    assert!(!waiting.join().expect("no panic"));
}

#[inline(never)]
fn receive(released: &Mutex<mpsc::Receiver<()>>) {
    released.lock().expect("not poisoned").recv().expect("it is released");
}

#[test]
fn spans_are_on_the_threads_that_entered_them() {
    let _alone = alone();
    let app = App::start(Router::new());
    let spans = |thermograph: &Thermograph| {
        let subscriber = tracing_subscriber::registry().with(thermograph.tracing_layer());
        let _default = tracing::subscriber::set_default(subscriber);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let start = std::time::Instant::now();
        runtime.expect("a runtime").block_on(async {
            // Over and over: nobody knows when the recording begins.
            while start.elapsed() < Duration::from_secs(1) {
                let inner = async {
                    let sleep = tokio::time::sleep(Duration::from_millis(5));
                    sleep.instrument(tracing::info_span!("waits")).await;
                };
                inner.instrument(tracing::info_span!("request", id = 1)).await;
            }
        });
    };
    let (trace, ()) = record(&app, "seconds=2", || {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("spanning".to_owned());
            let spanning = thread.spawn_scoped(scope, || spans(&app.thermograph));
            spanning.expect("a thread").join().expect("no panic");
        });
    });
    let spans = trace.complete("span");
    for name in ["request", "waits"] {
        let span = spans.iter().find(|span| span.name == name).expect("there");
        let at = span.args.at.as_deref().expect("known");
        assert!(at.contains("sampler::trace") && at.contains("trace.rs:"), "{at}");
        let named = trace.events.iter().any(|event| {
            matches!(event, Event::Named { tid, args, .. } if *tid == span.tid && args.name == "spanning")
        });
        assert!(named, "{span:?}");
    }
    // Awaiting is not in them.
    assert!(spans.iter().all(|span| span.dur < 1e6));
    assert!(trace.other_data.notes.is_empty(), "{:?}", trace.other_data);
}

#[test]
fn a_trace_is_compressed_for_who_wants_it() {
    let _alone = alone();
    let app = App::start(Router::new());
    let ask = |query: &str, encoding: &str| {
        let url = app.diagnostics(&format!("/debug/pprof/trace?seconds=1{query}"));
        let answer = agent().get(url).header("accept-encoding", encoding).call();
        let mut answer = answer.expect("an answer");
        let header = |name: &str| {
            answer.headers().get(name).map_or("", |value| value.to_str().expect("text")).to_owned()
        };
        let said = ["content-type", "content-encoding", "content-disposition"].map(header);
        (said, answer.body_mut().read_to_vec().expect("a body"))
    };
    let unzip = |gzipped: &[u8]| {
        let mut bytes = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut bytes).expect("gzip");
        bytes
    };
    let ([kind, encoding, name], body) = ask("", "identity");
    assert_eq!((&*kind, &*encoding), ("application/json", ""));
    assert!(name.ends_with("-trace.json\""), "{name}");
    Trace::read(&body);
    let ([kind, encoding, _], body) = ask("", "gzip");
    assert_eq!((&*kind, &*encoding), ("application/json", "gzip"));
    Trace::read(&unzip(&body));
    let ([kind, encoding, name], body) = ask("&format=gzip", "gzip");
    assert_eq!((&*kind, &*encoding), ("application/gzip", ""));
    assert!(name.ends_with("-trace.json.gz\""), "{name}");
    Trace::read(&unzip(&body));
}

#[test]
fn one_at_a_time_and_a_client_that_leaves_ends_it() {
    let _alone = alone();
    let app = App::start(Router::new());
    let status = |query: &str| {
        let url = app.diagnostics(&format!("/debug/pprof/trace?seconds=1{query}"));
        agent().get(url).call().expect("an answer").status().as_u16()
    };
    let (mut first, told) = long_capture(&app, "/debug/pprof/trace", 60);
    assert!(told.contains("for another") && told.contains("force=true"), "{told}");
    assert_eq!(status("&force=true"), 200);
    let mut answer = [0; 12];
    first.read_exact(&mut answer).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 409");
    drop(long_capture(&app, "/debug/pprof/trace", 60));
    wait("it has ended", || status("") == 200);
    for (query, parts) in [
        ("seconds=0", ["seconds", "`0`", "a number above 0, up to 60"]),
        ("seconds=ten", ["seconds", "`ten`", "a number above 0, up to 60"]),
        ("format=svg", ["format", "`svg`", "json, gzip"]),
        ("force=1", ["force", "`1`", "false, true"]),
        ("route=/x", ["route", "allowed here", "seconds, format, force"]),
    ] {
        let url = app.diagnostics(&format!("/debug/pprof/trace?{query}"));
        let mut answer = agent().get(url).call().expect("an answer");
        let text = answer.body_mut().read_to_string().expect("text");
        assert_eq!(answer.status(), 400, "{query}: {text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{query}: {text}");
    }
}
