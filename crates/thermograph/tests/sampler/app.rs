//! An app that is watched, on a runtime of its own, and one test at a time.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use axum::{Router, extract::Path, routing::get};
use thermograph::{Builder, ConsoleMode, Door, Stall, Thermograph};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};

pub(crate) use thermograph_test_util::{
    client::{PATIENCE, agent, get_bytes, tool, wait},
    readers::{fill_captures, reader},
};

/// Healthy handlers beside the one that is looked at.
pub(crate) const HEALTHY: [&str; 10] = [
    "/healthy/hello",
    "/healthy/json",
    "/healthy/sleep",
    "/healthy/yield",
    "/healthy/lock",
    "/healthy/channel",
    "/healthy/blocking",
    "/healthy/file",
    "/healthy/stream",
    "/healthy/path/{name}",
];

/// The process' signals, timers and memory are looked at by one test at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A watched app with two workers.
pub(crate) struct App {
    pub(crate) thermograph: Thermograph,
    pub(crate) address: SocketAddr,
    door: Door,
    // Last: what runs on it must be over before the rest is taken down.
    runtime: Option<Runtime>,
}

impl App {
    /// The healthy handlers, and whatever is ill.
    pub(crate) fn start(ill: Router) -> Self {
        Self::with(ill, |builder| builder)
    }

    pub(crate) fn with(ill: Router, configure: impl FnOnce(Builder) -> Builder) -> Self {
        Self::on(ill, configure, |_, _| ())
    }

    /// The same on a runtime that tells of its tasks.
    pub(crate) fn hooked(ill: Router) -> Self {
        let install = |thermograph: &Thermograph, runtime: &mut runtime::Builder| {
            thermograph.hooks().install(runtime);
        };
        Self::on(ill, |builder| builder, install)
    }

    /// The same with at most so many threads for blocking work.
    pub(crate) fn with_blocking_threads(ill: Router, threads: usize) -> Self {
        Self::on(
            ill,
            |builder| builder,
            |thermograph, runtime| {
                thermograph.hooks().install(runtime.max_blocking_threads(threads));
            },
        )
    }

    fn on(
        ill: Router,
        configure: impl FnOnce(Builder) -> Builder,
        prepare: impl FnOnce(&Thermograph, &mut runtime::Builder),
    ) -> Self {
        let builder = Thermograph::builder()
            .listen((Ipv4Addr::LOCALHOST, 0))
            .console(ConsoleMode::Off)
            .max_stalls(10_000);
        let thermograph = configure(builder).build().expect("valid");
        let door = thermograph.serve().expect("opened");
        let mut runtime = runtime::Builder::new_multi_thread();
        prepare(&thermograph, &mut runtime);
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("bound");
        let address = listener.local_addr().expect("an address");
        let app = healthy().merge(ill).layer(thermograph.layer());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { thermograph, address, door, runtime: Some(runtime) }
    }

    /// Runs a task on its workers.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.as_ref().expect("until dropped").spawn(task));
    }

    /// Wakes a worker that is idle. Of idle workers, one waits for connections; while a handler keeps
    /// that one, another looks for them only once it was woken.
    pub(crate) fn wake(&self) {
        self.spawn(async {});
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn diagnostics(&self, path: &str) -> String {
        format!("http://{}{path}", self.door.address())
    }

    /// How many stalls of one route have ended, without looking up names, which is work.
    pub(crate) fn stalls_counted(&self, route: &str) -> u64 {
        let metrics = get_text(&self.diagnostics("/metrics"));
        let of_route = format!("route=\"{route}\"");
        let lines = metrics.lines().filter(|line| {
            line.starts_with("thermograph_stalls_total{") && line.contains(&of_route)
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Stalls of one route that have ended; waits until there are so many.
    pub(crate) fn stalls_of(&self, route: &str, count: usize) -> Vec<Stall> {
        let of_route = || {
            let mut stalls = self.thermograph.stalls();
            stalls.retain(|stall| stall.route == route);
            stalls
        };
        wait(&format!("{count} stalls of {route}"), || {
            let stalls = of_route();
            stalls.len() >= count && stalls.iter().all(|stall| stall.ended)
        });
        of_route()
    }

    /// Asks the healthy handlers in turn from two threads while `during` runs.
    pub(crate) fn with_healthy_load<T>(&self, during: impl FnOnce() -> T) -> T {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for start in [0, 5] {
                let stop = &stop;
                scope.spawn(move || {
                    let agent = agent();
                    let paths = HEALTHY.iter().cycle().skip(start);
                    for path in paths.take_while(|_| !stop.load(Relaxed)) {
                        let path = path.replace("{name}", "x");
                        let answer = agent.get(self.url(&path)).call();
                        let mut answer = answer.expect("answered");
                        answer.body_mut().read_to_string().expect("a body");
                    }
                });
            }
            let stopping = Stop(&stop);
            let result = during();
            drop(stopping);
            result
        })
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// Stops the load however its scope is left.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn healthy() -> Router {
    Router::new()
        .route("/healthy/hello", get(async || "hello"))
        .route("/healthy/json", get(async || axum::Json(vec!["some"; 20])))
        .route("/healthy/sleep", get(async || tokio::time::sleep(Duration::from_millis(3)).await))
        .route("/healthy/yield", get(async || tokio::task::yield_now().await))
        .route("/healthy/lock", get(lock))
        .route("/healthy/channel", get(channel))
        .route("/healthy/blocking", get(blocking))
        .route(
            "/healthy/file",
            get(async || tokio::fs::metadata("/proc/self/exe").await.is_ok().to_string()),
        )
        .route("/healthy/stream", get(stream))
        .route("/healthy/path/{name}", get(async |Path(name): Path<String>| name))
}

async fn lock() -> String {
    static VISITS: tokio::sync::Mutex<u64> = tokio::sync::Mutex::const_new(0);
    let mut visits = VISITS.lock().await;
    *visits += 1;
    visits.to_string()
}

async fn channel() -> &'static str {
    let (send, receive) = tokio::sync::oneshot::channel();
    tokio::spawn(async { send.send("sent") });
    receive.await.expect("sent")
}

async fn blocking() -> &'static str {
    let sleep = || thread::sleep(Duration::from_millis(15));
    tokio::task::spawn_blocking(sleep).await.expect("no panic");
    "where it belongs"
}

async fn stream() -> axum::body::Body {
    let (send, receive) = tokio::io::duplex(64);
    tokio::spawn(async move {
        let mut send = send;
        for _ in 0..5 {
            tokio::io::AsyncWriteExt::write_all(&mut send, b"chunk").await.expect("read");
            tokio::task::yield_now().await;
        }
    });
    axum::body::Body::from_stream(tokio_util::io::ReaderStream::new(receive))
}

pub(crate) fn get_text(url: &str) -> String {
    String::from_utf8(get_bytes(url)).expect("text")
}
