//! Tasks: what each is, does and waits for, while workers are free and while all are blocked.

use std::{
    future::poll_fn,
    io::Write as _,
    net::TcpStream,
    pin::{Pin, pin},
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::get};
use thermograph::{
    TaskReport, TaskRow, label,
    tasks::{TaskKind, TaskState},
};
use tokio::sync::Notify;

use crate::{
    app::{App, agent, alone, get_bytes, get_text, wait},
    go::pprof,
};

/// Handlers that wait until they are told, each in its own way, and one that blocks both workers.
struct Held {
    news: Arc<Notify>,
    release: mpsc::Sender<()>,
}

fn held() -> (Router, Held) {
    let news = Arc::new(Notify::new());
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let [waits, spawns, labels, large] = [(); 4].map(|()| Arc::clone(&news));
    let blocks = move || {
        let released = Arc::clone(&released);
        async move {
            let too = Arc::clone(&released);
            tokio::spawn(async move { block(&too) });
            // The newest task of a worker is the one that no other worker takes.
            tokio::spawn(async {});
            block(&released);
        }
    };
    let app = Router::new()
        .route("/waits", get(move || wait_for_news(Arc::clone(&waits))))
        .route("/spawns", get(async move || spawn(Arc::clone(&spawns))))
        .route("/labels", get(async move || spawn_labelled(Arc::clone(&labels))))
        .route("/large", get(move || on_a_large_frame(wait_for_news(Arc::clone(&large)))))
        .route("/blocks", get(blocks));
    (app, Held { news, release })
}

async fn wait_for_news(news: Arc<Notify>) -> &'static str {
    deeper(&news).await;
    "news"
}

async fn deeper(news: &Notify) {
    news.notified().await;
}

/// Polls a future from a frame of 200 KiB.
async fn on_a_large_frame<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(move |cx| poll_below(future.as_mut(), cx)).await
}

#[expect(clippy::large_stack_arrays, reason = "what is tested")]
#[inline(never)]
fn poll_below<T>(future: Pin<&mut impl Future<Output = T>>, cx: &mut Context<'_>) -> Poll<T> {
    let mut large = [0_u8; 200 << 10];
    std::hint::black_box(&mut large);
    let polled = future.poll(cx);
    std::hint::black_box(&mut large);
    polled
}

fn spawn(news: Arc<Notify>) {
    tokio::spawn(async move { deeper(&news).await });
}

fn spawn_labelled(news: Arc<Notify>) {
    tokio::spawn(label::future(labelled_work(news)));
}

async fn labelled_work(news: Arc<Notify>) {
    tokio::join!(deeper(&news), tokio::time::sleep(Duration::from_mins(10)));
}

#[inline(never)]
fn block(released: &Mutex<mpsc::Receiver<()>>) {
    let receiver = released.lock().expect("not poisoned");
    receiver.recv().expect("it is released");
}

/// A client that waits for its answer.
fn ask(app: &App, path: &str, id: &'static str) -> thread::JoinHandle<u16> {
    let url = app.url(path);
    thread::spawn(move || {
        let answer = agent().get(url).header("x-request-id", id).call();
        answer.expect("an answer").status().as_u16()
    })
}

fn report(app: &App, query: &str) -> TaskReport {
    let text = get_text(&app.diagnostics(&format!("/debug/tasks{query}")));
    serde_json::from_str(&text).expect("a report")
}

/// The task of this route; waits until it is there.
fn task(app: &App, query: &str, is_it: impl Fn(&TaskRow) -> bool) -> TaskRow {
    let mut found = None;
    wait("the task is there", || {
        found = report(app, query).tasks.into_iter().find(&is_it);
        found.is_some()
    });
    found.expect("found")
}

fn has(row: &TaskRow, function: &str) -> bool {
    row.stack.iter().any(|frame| frame.function.contains(function))
}

#[test]
fn a_connection_has_the_name_of_its_request_and_what_is_spawned_that_of_its_handler() {
    let _alone = alone();
    let (ill, held) = held();
    let app = App::hooked(ill);
    let client = ask(&app, "/waits", "an-id");
    let row = task(&app, "", |row| row.route == "/waits" && row.state == TaskState::Waiting);
    assert_eq!((&*row.name, row.kind), ("GET /waits", TaskKind::Request), "{row:#?}");
    let request = row.request.expect("a request");
    assert_eq!((request.id.as_deref(), &*request.stage), (Some("an-id"), "handler"));
    assert!(request.age_ms.is_some() && row.polls > 0 && row.busy_ms > 0.0);
    let place = row.spawned_at.expect("known");
    assert!(place.file.starts_with("axum-0.8") && place.line > 0, "{place:?}");
    assert!(row.stack.is_empty());

    assert_eq!(ask(&app, "/spawns", "b").join().expect("no panic"), 200);
    let row = task(&app, "?route=/spawns", |row| row.kind == TaskKind::Spawned);
    let place = row.spawned_at.expect("known");
    assert_eq!(
        (&*row.name, &*place.file),
        ("GET /spawns", "crates/thermograph/tests/sampler/tasks.rs")
    );

    // The one that accepts connections, and a connection without a request.
    let all = report(&app, "");
    let other = all.tasks.iter().find(|row| row.kind == TaskKind::Other).expect("there");
    assert!(other.name.starts_with("crates/thermograph/tests/sampler/app.rs:"), "{other:?}");
    let text = get_text(&app.diagnostics("/debug/tasks?format=text"));
    for part in [
        format!("{} tasks", all.tasks.len()),
        "GET /waits, request id an-id, in its handler: waiting for ".to_owned(),
        "    spawned at axum-0.8".to_owned(),
        "  request  GET /waits\n".to_owned(),
        "  spawned  GET /spawns\n".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is not in\n{text}");
    }
    assert!(report(&app, "?route=/nothing").tasks.is_empty());

    held.news.notify_waiters();
    assert_eq!(client.join().expect("no panic"), 200);
    wait("both are over", || {
        report(&app, "").tasks.iter().all(|row| !["/waits", "/spawns"].contains(&&*row.route))
    });
}

#[test]
fn who_is_asked_says_where_it_waits() {
    let _alone = alone();
    let (ill, held) = held();
    let app = App::hooked(ill);
    let clients = [(); 3].map(|()| ask(&app, "/waits", "an-id"));
    assert_eq!(ask(&app, "/labels", "b").join().expect("no panic"), 200);
    let waiting = |row: &&TaskRow| row.route == "/waits" && row.state == TaskState::Waiting;
    wait("all wait", || report(&app, "").tasks.iter().filter(waiting).count() == 3);

    let start = Instant::now();
    let full = report(&app, "?full=true&seconds=10");
    // Not when the time is over: when all have answered.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(full.notes.is_empty(), "{:?}", full.notes);
    for row in full.tasks.iter().filter(waiting) {
        let said = row.waits_for.as_deref().expect("known");
        assert!(said.starts_with("a notification (Notify), in sampler::tasks::deeper ("), "{said}");
        assert!(has(row, "tasks::deeper") && has(row, "tasks::wait_for_news"), "{row:#?}");
        assert!(has(row, "tokio::sync::notify") && !has(row, "awaits::clone"), "{row:#?}");
    }
    let labelled = full.tasks.iter().find(|row| row.route == "/labels").expect("there");
    let said = labelled.waits_for.as_deref().expect("known");
    // In the order that `join!` polled them in, which differs.
    let parts =
        ["a notification (Notify), in ", "a timer, in sampler::tasks::labelled_work", ", or "];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    assert!(has(labelled, "tasks::labelled_work"), "{labelled:#?}");

    // Nobody was woken for good, and nothing is asked any more.
    assert_eq!(report(&app, "").tasks.iter().filter(waiting).count(), 3);
    held.news.notify_waiters();
    for client in clients {
        assert_eq!(client.join().expect("no panic"), 200);
    }
}

#[test]
fn a_task_with_a_large_stack_says_where_it_waits() {
    let _alone = alone();
    let (ill, held) = held();
    let app = App::hooked(ill);
    let client = ask(&app, "/large", "an-id");
    let is_it = |row: &TaskRow| row.route == "/large" && row.state == TaskState::Waiting;
    task(&app, "", is_it);
    let row = task(&app, "?full=true&seconds=10", is_it);
    let said = row.waits_for.as_deref().expect("known");
    assert!(said.starts_with("a notification (Notify), in sampler::tasks::deeper ("), "{said}");
    // What lies beyond the copy is left out.
    assert!(has(&row, "tasks::wait_for_news") && !has(&row, "large_frame"), "{row:#?}");
    held.news.notify_waiters();
    assert_eq!(client.join().expect("no panic"), 200);
}

#[test]
fn the_list_is_there_at_once_while_every_worker_is_blocked() {
    let _alone = alone();
    let (ill, held) = held();
    let app = App::hooked(ill);
    let waits = ask(&app, "/waits", "waits");
    task(&app, "", |row| row.route == "/waits" && row.state == TaskState::Waiting);
    let client = ask(&app, "/blocks", "blocks");
    let is_blocked = |row: &&TaskRow| row.route == "/blocks" && row.state == TaskState::Running;
    wait("every worker is blocked", || {
        let all = report(&app, "");
        let blocked = all.tasks.iter().filter(is_blocked);
        blocked.filter(|row| !row.stack.is_empty()).count() == 2
    });
    let all = report(&app, "");
    for row in all.tasks.iter().filter(is_blocked) {
        assert_eq!(row.waits_for.as_deref(), Some("futex, which blocks its worker"), "{row:#?}");
        assert!(has(row, "tasks::block") && row.thread.is_some(), "{row:#?}");
    }
    let request = all.tasks.iter().find(|row| row.route == "/blocks" && row.request.is_some());
    let request = request.and_then(|row| row.request.as_ref()).expect("a request");
    assert_eq!(request.id.as_deref(), Some("blocks"));
    // First what is polled.
    assert!(all.tasks[..2].iter().all(|row| row.state == TaskState::Running));

    // Asked, who waits cannot answer; that is said, and no longer waited for than was allowed.
    let full = report(&app, "?full=true&seconds=1");
    let row = full.tasks.iter().find(|row| row.route == "/waits").expect("there");
    assert_eq!(row.waits_for.as_deref(), Some("it did not answer: its worker is busy"));
    assert!(full.notes.iter().any(|note| note.contains("did not answer within 1.")), "{full:?}");
    for _ in 0..2 {
        held.release.send(()).expect("it waits");
    }
    assert_eq!(client.join().expect("no panic"), 200);
    // And it goes on as if nobody had asked.
    let full = report(&app, "?full=true");
    let row = full.tasks.iter().find(|row| row.route == "/waits").expect("there");
    assert!(has(row, "tasks::wait_for_news"), "{row:#?}");
    held.news.notify_waiters();
    assert_eq!(waits.join().expect("no panic"), 200);
}

/// Handlers and bodies that wait in ways that show no place, and beside them some that do.
fn silent() -> Router {
    let silent = |_: &mut Context<'_>| Poll::<()>::Pending;
    Router::new()
        .route("/pending", get(async || std::future::pending::<()>().await))
        .route("/by-hand", get(move || std::future::poll_fn(silent)))
        .route("/select", get(select))
        .route("/labelled", get(async || drop(tokio::spawn(label::future(forever())))))
        .route("/body", get(async || Body::from_stream(tokio_stream::pending::<Chunk>())))
        .route("/unread", get(async || Body::from_stream(tokio_stream::iter(chunks()))))
}

type Chunk = Result<Vec<u8>, std::io::Error>;

async fn forever() {
    std::future::pending::<()>().await;
}

async fn select() {
    tokio::select! {
        // Cancel-safe: neither arm holds anything.
        () = std::future::pending() => {}
        () = tokio::time::sleep(Duration::from_mins(10)) => {}
    }
}

/// More than a client has room for that does not read.
fn chunks() -> impl Iterator<Item = Chunk> + Send + 'static {
    (0..10_000).map(|_| Ok(vec![b'x'; 64 << 10]))
}

/// Sends a request and reads nothing of the answer.
fn send(app: &App, path: &str) -> TcpStream {
    let mut connection = TcpStream::connect(app.address).expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("sent");
    connection
}

#[test]
fn a_task_that_shows_no_place_is_asked_once_and_goes_on_waiting() {
    let _alone = alone();
    let app = App::hooked(silent());
    let of_route = |route: &str, query: &str| {
        task(&app, query, |row| row.route == route && row.state == TaskState::Waiting)
    };
    let expected = [
        ("/pending", "nothing that could wake it"),
        ("/by-hand", "nothing that could wake it"),
        ("/labelled", "nothing that could wake it"),
        ("/body", "nothing that could wake it"),
        ("/select", "a timer, in sampler::tasks::select"),
        ("/unread", "its client"),
    ];
    let connections = expected.map(|(route, _)| send(&app, route));
    let mut before: Vec<_> = expected
        .map(|(route, _)| {
            let waits = |row: &TaskRow| row.waits_for.is_some() || row.request.is_some();
            wait("it waits", || of_route(route, "").state == TaskState::Waiting);
            task(&app, "", |row| row.route == route && (waits(row) || route == "/labelled"))
        })
        .into();
    // Until the connection's buffers are full, and all have waited for a while.
    wait("all wait", || {
        let now: Vec<_> = expected.iter().map(|(route, _)| of_route(route, "")).collect();
        let are_still = now.iter().zip(&before).all(|(now, before)| now.polls == before.polls);
        let have_waited = now.iter().all(|row| row.since_ms > 300.0);
        before = now;
        are_still && have_waited
    });

    let start = Instant::now();
    let full = report(&app, "?full=true&seconds=10");
    // Not when the time is over: when all have been polled.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(full.notes.is_empty(), "{:?}", full.notes);
    let after = report(&app, "");
    for ((route, says), before) in expected.iter().zip(&before) {
        let found = |report: &TaskReport| {
            report.tasks.iter().find(|row| row.id == before.id).expect("it still waits").clone()
        };
        let (asked, after) = (found(&full), found(&after));
        let said = asked.waits_for.as_deref().unwrap_or_default();
        assert!(said.contains(says), "{route}: {asked:#?}");
        for row in [&asked, &after] {
            assert!(row.since_ms >= before.since_ms, "{route}: {row:#?}");
            assert_eq!(row.state, TaskState::Waiting, "{route}: {row:#?}");
        }
        assert!((1..=2).contains(&(after.polls - before.polls)), "{route}: {after:#?}");
    }
    drop(connections);
}

#[test]
fn asking_over_and_over_takes_nobody_down() {
    let _alone = alone();
    let (ill, held) = held();
    let app = App::hooked(ill);
    let clients = [(); 8].map(|()| ask(&app, "/waits", "an-id"));
    let mut answered = 0;
    app.with_healthy_load(|| {
        for _ in 0..20 {
            let full = report(&app, "?full=true&seconds=2");
            answered += full.tasks.iter().filter(|row| has(row, "tasks::deeper")).count();
        }
    });
    assert!(answered > 0);
    held.news.notify_waiters();
    for client in clients {
        assert_eq!(client.join().expect("no panic"), 200);
    }
}

#[test]
fn go_tool_pprof_reads_tasks() {
    let _alone = alone();
    let (ill, held) = held();
    let app = App::hooked(ill);
    let client = ask(&app, "/waits", "an-id");
    task(&app, "", |row| row.route == "/waits" && row.state == TaskState::Waiting);
    for (query, function) in
        [("", "task spawned at axum-0.8"), ("?full=true", "tasks::wait_for_news")]
    {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = format!("/debug/pprof/goroutine{query}");
        std::fs::write(file.path(), get_bytes(&app.diagnostics(&path))).expect("written");
        let top = pprof(&["-top", "-cum"], file.path());
        assert!(top.contains("Type: tasks") && top.contains(function), "{path}: {top}");
        let tree = pprof(&["-top", "-cum", "-tagroot=route,state"], file.path());
        for label in ["/waits", "waiting"] {
            assert!(tree.lines().any(|line| line.ends_with(label)), "{path}: {label}: {tree}");
        }
    }
    let debug = get_text(&app.diagnostics("/debug/pprof/goroutine?debug=1&route=/waits"));
    assert!(debug.starts_with("--- tasks:\n1 @ route=/waits method=GET state=waiting"), "{debug}");
    let debug = get_text(&app.diagnostics("/debug/pprof/goroutine?debug=2"));
    assert!(debug.contains("GET /waits, request id an-id, in its handler"), "{debug}");
    let folded = get_text(&app.diagnostics("/debug/pprof/goroutine?format=folded&full=true"));
    assert!(folded.contains("tasks::wait_for_news"), "{folded}");
    let svg = get_text(&app.diagnostics("/debug/pprof/goroutine?format=svg"));
    assert!(svg.contains("<svg") && svg.contains("Tasks"), "{svg}");
    held.news.notify_waiters();
    assert_eq!(client.join().expect("no panic"), 200);
}

#[test]
fn bad_parameters_of_tasks_are_named_with_what_is_allowed() {
    let _alone = alone();
    let app = App::start(Router::new());
    for (path, parts) in [
        ("/debug/tasks?format=svg", ["format", "`svg`", "json, text"]),
        ("/debug/tasks?full=yes", ["full", "`yes`", "false, true"]),
        ("/debug/tasks?full=true&seconds=11", ["seconds", "`11`", "from 1 to 10"]),
        ("/debug/tasks?full=true&seconds=0", ["seconds", "`0`", "from 1 to 10"]),
        ("/debug/tasks?seconds=1", ["seconds", "full=true", "at once"]),
        ("/debug/tasks?debug=1", ["debug", "allowed here", "full, seconds"]),
        ("/debug/pprof/goroutine?debug=x", ["debug", "`x`", "a whole number"]),
        ("/debug/pprof/goroutine?debug=1&format=svg", ["debug=1", "format", "combined"]),
        ("/debug/pprof/goroutine?frequency=1", ["frequency", "allowed here", "debug, route"]),
    ] {
        let mut answer = agent().get(app.diagnostics(path)).call().expect("an answer");
        let text = answer.body_mut().read_to_string().expect("text");
        assert_eq!(answer.status(), 400, "{path}: {text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{path}: {text}");
    }
    // Without hooks there is nothing to list, and that is said.
    let report = report(&app, "");
    assert!(report.tasks.is_empty());
    assert!(report.notes[0].contains("Thermograph::hooks()"), "{report:?}");
}
