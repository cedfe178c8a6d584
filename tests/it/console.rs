//! The real tokio-console in a terminal, and what it is told.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use serde_json::json;
use thermograph::{ConsoleMode, Thermograph};
use tokio::{net::TcpListener, runtime};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{
    MODEL, Server, agent, answer, console, get as http_get, tool, under_load, wait,
};

/// Most that is waited for: generous, for a machine that is busy.
const UPDATES: usize = 120;

/// A tmux server of our own; killed when dropped.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn start(command: &str) -> Self {
        let terminal = Self { socket: format!("thermograph-{}", std::process::id()) };
        terminal.tmux(&["new-session", "-d", "-x", "170", "-y", "50", command]);
        terminal
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new(tool("tmux"))
            .args(["-f", "/dev/null", "-L", &self.socket])
            .args(args)
            .env("TERM", "xterm-256color")
            .output()
            .expect("tmux runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Gone already where its command has ended.
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}

#[test]
fn tokio_console_shows_handlers_by_name() {
    let server = Server::start();
    let console = server.addresses.console.expect("the console is on");
    let command = format!("{} http://{console}", tool("tokio-console").display());
    under_load(&server, || {
        let terminal = Terminal::start(&command);
        let mut attached = None;
        let mut screen = String::new();
        wait("the console shows requests", || {
            screen = terminal.screen();
            if attached.is_none() && screen.contains("Tasks (") {
                attached = Some(Instant::now());
                // By name, from the first in the alphabet: capitals come before the tasks' names.
                terminal.press(&["h", "i"]);
            }
            let is_a_row = |line: &&str| {
                let embeds = line.contains("POST /v1/embeddings") && line.contains("request");
                embeds && line.contains("src/serve.rs") && line.contains("request_id=req_")
            };
            screen.lines().filter(is_a_row).count() >= 3
        });
        let after = attached.expect("attached").elapsed();
        let shown = format!("{after:.2?} after it had attached:\n{screen}");
        // To be looked at.
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokio-console.txt");
        std::fs::write(file, &shown).expect("written");
        println!("{shown}");
        // Sorted the other way round: the tasks that carry them.
        terminal.press(&["i"]);
        wait("the console shows tasks by name", || {
            let is_a_row = |line: &str| line.contains("connection") && line.contains("task");
            terminal.screen().lines().any(|line| is_a_row(line) && line.contains("src/server.rs"))
        });
    });
}

#[test]
fn requests_have_rows_with_their_id_and_their_times() {
    let server = Server::start();
    let address = server.addresses.console.expect("the console is on");
    let (mut rows, mut updates) = (console::Rows::default(), 0);
    let ended = |rows: &console::Rows, id: &str| {
        let mut found = rows.requests().filter(|row| row.is("request_id", id));
        found.find(|row| row.has_ended()).cloned()
    };
    console::attach(address, UPDATES, |update| {
        rows.update(update);
        updates += 1;
        if updates == 1 {
            let body = json!({ "model": MODEL, "input": "which handler is hot?" });
            let request = agent().post(server.api("/v1/embeddings"));
            let request = request.content_type("application/json").header("x-request-id", "abc-1");
            let given = answer(request.send(body.to_string()).expect("an answer"));
            assert_eq!((given.status, given.header("x-request-id")), (200, "abc-1"));
            let other = http_get(&server.api(&format!("/v1/models/{MODEL}")));
            assert!(other.header("x-request-id").starts_with("req_"), "{other:?}");
            assert_eq!(http_get(&server.api("/nowhere")).status, 404);
        }
        ended(&rows, "abc-1").is_some() && rows.requests().count() == 3
    })
    .expect("attached");
    let embedded = ended(&rows, "abc-1").expect("just seen");
    assert_eq!(embedded.name(), "POST /v1/embeddings");
    assert!(embedded.place.contains("src/serve.rs"), "{embedded:?}");
    // It waits for the engine, which wakes it.
    assert!(embedded.polls() >= 2 && embedded.wakes() >= 1, "{embedded:?}");
    assert!(!embedded.busy().is_zero() && !embedded.scheduled().is_zero(), "{embedded:?}");
    let mut names: Vec<_> = rows.requests().map(console::Row::name).collect();
    names.sort_unstable();
    assert_eq!(names, ["* (unmatched)", "GET /v1/models/{*id}", "POST /v1/embeddings"]);
    // Their connections, by the names and numbers of their tasks.
    let carrier = rows.tasks().find(|task| task.is("task.id", &embedded.fields["task.id"]));
    assert_eq!(carrier.map(console::Row::name), Some("connection"), "{rows:#?}");
}

#[test]
fn what_is_shown_keeps_up_with_what_happens() {
    let server = Server::with(&[("THERMOGRAPH_DIAGNOSTICS_NAMED_PER_SECOND", "1000")]);
    let address = server.addresses.console.expect("the console is on");
    let (mut rows, mut updates, mut allowed) = (console::Rows::default(), 0, UPDATES);
    let unnamed = || server.metric("thermograph_console_unnamed_requests_total");
    console::attach(address, UPDATES, |update| {
        rows.update(update);
        updates += 1;
        if updates == 1 {
            let start = Instant::now();
            (0..500).for_each(|_| assert_eq!(http_get(&server.api("/v1/models")).status, 200));
            // Those that waited meanwhile, and a few more.
            allowed = start.elapsed().as_secs() as usize + 5;
        }
        assert!(updates <= allowed, "{} rows in {updates} updates", rows.requests().count());
        let shown = rows.requests().filter(|row| row.has_ended()).count();
        shown as u64 + unnamed() == 500
    })
    .expect("attached");
}

#[test]
fn requests_past_the_bound_have_no_row_and_are_counted() {
    let variables = [("THERMOGRAPH_DIAGNOSTICS_NAMED_PER_SECOND", "1")];
    let server = Server::with(&variables);
    let address = server.addresses.console.expect("the console is on");
    let ask = || assert_eq!(http_get(&server.api("/v1/models")).status, 200);
    let unnamed = || server.metric("thermograph_console_unnamed_requests_total");
    // Nobody is attached: nothing is missed.
    ask();
    assert_eq!(unnamed(), 0);
    let (mut rows, mut updates, mut asked) = (console::Rows::default(), 0, 0);
    console::attach(address, UPDATES, |update| {
        rows.update(update);
        updates += 1;
        if updates == 1 {
            (0..50).for_each(|_| ask());
            asked = 50;
        }
        rows.requests().count() as u64 + unnamed() == asked && asked > 0
    })
    .expect("attached");
    assert!(unnamed() > 0 && rows.requests().count() > 0, "{rows:#?}");
    // It has left, which its server finds out by its connection.
    wait("nobody is attached", || {
        let before = unnamed();
        (0..5).for_each(|_| ask());
        unnamed() == before
    });
}

#[test]
fn from_the_start_the_service_s_own_tasks_have_names_too() {
    let server = Server::with(&[("THERMOGRAPH_DIAGNOSTICS_CONSOLE", "always")]);
    let address = server.addresses.console.expect("the console is on");
    assert_eq!(http_get(&server.api("/v1/models")).status, 200);
    let mut rows = console::Rows::default();
    console::attach(address, UPDATES, |update| {
        rows.update(update);
        let all = ["connection", "drain", "metrics upkeep", "signals"];
        let are_there = all.iter().all(|name| rows.tasks().any(|task| task.name() == *name));
        // Asked for before anybody was attached.
        are_there && rows.requests().any(|row| row.name() == "GET /v1/models")
    })
    .expect("attached");
}

/// In an app that is not ours, and that does nothing.
#[test]
fn tasks_that_live_when_a_console_attaches_are_listed_once() {
    let any = ([127, 0, 0, 1], 0);
    let builder = Thermograph::builder().listen(any).console_listen(any);
    let thermograph = builder.build().expect("valid");
    let door = thermograph.serve().expect("opened");
    let address = door.console_address().expect("the console is on");
    let (send, receive) = std::sync::mpsc::channel::<Vec<tokio::task::AbortHandle>>();
    let (spawn, late) = tokio::sync::oneshot::channel::<()>();
    let app = std::thread::spawn(move || {
        // The app's thread only: other tests of this process have no subscriber.
        let subscriber = tracing_subscriber::registry().with(thermograph.tracing_layer());
        let _subscriber = tracing::subscriber::set_default(subscriber);
        let mut runtime = runtime::Builder::new_current_thread();
        thermograph.hooks().install(runtime.enable_all());
        runtime.build().expect("a runtime").block_on(async {
            let early = (0..3).map(|_| tokio::spawn(std::future::pending::<()>()).abort_handle());
            let early: Vec<_> = early.collect();
            tokio::task::yield_now().await;
            send.send(early).expect("received");
            late.await.expect("sent");
            let late = tokio::spawn(std::future::pending::<()>()).abort_handle();
            send.send(vec![late]).expect("received");
            std::future::pending::<()>().await;
        });
    });
    let early = receive.recv().expect("spawned");
    let (mut rows, mut updates, mut listed, mut spawn) =
        (console::Rows::default(), 0, 0, Some(spawn));
    let id = |task: &tokio::task::AbortHandle| task.id().to_string();
    let of = |rows: &console::Rows, id: &str| {
        rows.tasks().filter(|row| row.is("task.id", id)).cloned().collect::<Vec<_>>()
    };
    let mut late = None;
    console::attach(address, UPDATES, |update| {
        rows.update(update);
        updates += 1;
        if listed == 0 && early.iter().all(|task| !of(&rows, &id(task)).is_empty()) {
            listed = updates;
            if let Some(spawn) = spawn.take() {
                spawn.send(()).expect("it waits");
            }
            late = receive.recv().expect("spawned").pop();
            early[0].abort();
        }
        let is_there = late.as_ref().is_some_and(|task| !of(&rows, &id(task)).is_empty());
        // And one more, in which a second row of it would be.
        let has_ended = of(&rows, &id(&early[0])).iter().any(console::Row::has_ended);
        is_there && has_ended && updates >= listed + 3
    })
    .expect("attached");
    // The first update is there at once; there is one a second after that.
    assert!(listed <= 3, "listed with update {listed}");
    for task in early.iter().chain(&late) {
        let rows = of(&rows, &id(task));
        let [row] = &*rows else { panic!("not one row of {task:?}: {rows:#?}") };
        assert!(row.place.contains("tests/it/console.rs"), "{row:?}");
        assert!(row.has_ended() == (id(task) == id(&early[0])), "{row:?}");
    }
    let row = &of(&rows, &id(&early[1]))[0];
    assert!(row.name().starts_with("tests/it/console.rs:"), "{row:?}");
    assert!(row.fields["spawned"].ends_with("before it was listed"), "{row:?}");
    assert_eq!(row.fields["polls_before"], "1", "{row:?}");
    drop(app);
}

/// In an app that is not ours.
#[test]
fn busy_time_and_polls_are_the_handler_s() {
    let any = ([127, 0, 0, 1], 0);
    let builder = Thermograph::builder().listen(any).console_listen(any);
    let thermograph = builder.console(ConsoleMode::Always).build().expect("valid");
    let door = thermograph.serve().expect("opened");
    let nap = Duration::from_millis(30);
    let app = Router::new()
        .route("/sleeps", get(move || async move { std::thread::sleep(nap) }))
        .route("/waits", get(move || tokio::time::sleep(nap)))
        .layer(thermograph.layer());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.set_nonblocking(true).expect("set");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        // The app's thread only: other tests of this process have no subscriber.
        let subscriber = tracing_subscriber::registry().with(thermograph.tracing_layer());
        let _subscriber = tracing::subscriber::set_default(subscriber);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, app).await.expect("served");
        });
    });
    for path in ["/sleeps", "/waits"] {
        assert_eq!(http_get(&format!("{url}{path}")).status, 200);
    }
    let mut rows = console::Rows::default();
    console::attach(door.console_address().expect("the console is on"), UPDATES, |update| {
        rows.update(update);
        rows.requests().filter(|row| row.has_ended()).count() == 2
    })
    .expect("attached");
    let row = |name| rows.requests().find(|row| row.name() == name).expect("a row");
    let (sleeps, waits) = (row("GET /sleeps"), row("GET /waits"));
    assert!(sleeps.busy() >= nap && sleeps.polls() == 1, "{sleeps:?}");
    // Once when it came and once when it was woken, and neither takes long.
    assert!(waits.polls() == 2 && waits.wakes() == 1, "{waits:?}");
    assert!(waits.busy() + waits.scheduled() < sleeps.busy(), "{waits:?}");
    assert!(sleeps.place.contains("tests/it/console.rs"), "{sleeps:?}");
}
