//! An app whose handlers allocate so much and no more, and one test at a time.

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{Router, routing::get};
use thermograph::{ConsoleMode, Door, HeapMode, Thermograph};
use tokio::{net::TcpListener, runtime::Runtime};

pub(crate) use thermograph_test_util::{
    client::{agent, get_bytes, tool, wait},
    readers::{fill_captures, reader},
};

/// What `/hoard` keeps, in bytes.
pub(crate) const HOARDED: usize = PIECES * PIECE;
/// What `/churn` allocates and frees.
pub(crate) const CHURNED: usize = 4 * PIECES * PIECE;
/// Small, so that only some are sampled.
pub(crate) const PIECE: usize = 32 * 1024;
pub(crate) const PIECES: usize = 4096;

/// The process' memory is looked at by one test at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A watched app with two workers.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    door: Door,
    /// Last: what runs on it must be over before the rest is taken down.
    _runtime: Runtime,
}

impl App {
    pub(crate) fn start(heap: HeapMode) -> Self {
        let thermograph = Thermograph::builder()
            .listen((Ipv4Addr::LOCALHOST, 0))
            .console(ConsoleMode::Off)
            .heap(heap)
            .build()
            .expect("valid");
        let door = thermograph.serve().expect("opened");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("bound");
        let address = listener.local_addr().expect("an address");
        let app = Router::new()
            .route("/hoard", get(async || hoard()))
            .route("/churn", get(async || churn()))
            .route("/release", get(async || release()))
            .layer(thermograph.layer());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { address, door, _runtime: runtime }
    }

    pub(crate) fn visit(&self, path: &str) {
        let url = format!("http://{}{path}", self.address);
        assert_eq!(agent().get(url).call().expect("an answer").status(), 200, "{path}");
    }

    pub(crate) fn door(&self) -> String {
        self.door.address().to_string()
    }

    pub(crate) fn diagnostics(&self, path: &str) -> String {
        format!("http://{}{path}", self.door.address())
    }

    /// Status and text of an answer.
    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        let (status, body) = self.bytes(path);
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// Status and body of an answer.
    pub(crate) fn bytes(&self, path: &str) -> (u16, Vec<u8>) {
        let mut answer = agent().get(self.diagnostics(path)).call().expect("an answer");
        let body = answer.body_mut().with_config().limit(1 << 30).read_to_vec();
        (answer.status().as_u16(), body.expect("a body"))
    }
}

static HOARD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Allocates, and keeps it.
#[inline(never)]
fn hoard() {
    let mut hoard = HOARD.lock().expect("no panic");
    hoard.reserve(PIECES);
    for _ in 0..PIECES {
        hoard.push(black_box(vec![1; PIECE]));
    }
}

/// Allocates, and frees it.
#[inline(never)]
fn churn() {
    for _ in 0..4 * PIECES {
        drop(black_box(vec![1_u8; PIECE]));
    }
}

#[inline(never)]
fn release() {
    *HOARD.lock().expect("no panic") = Vec::new();
}

/// Whether jemalloc samples now.
pub(crate) fn is_sampling() -> bool {
    use tikv_jemalloc_ctl::{Access as _, AsName as _};
    "prof.active\0".name().read().expect("there")
}
