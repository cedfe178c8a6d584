//! A clinic: specimens of illness beside healthy handlers, in an app that mounts the diagnostics.
//!
//! ```text
//! cargo build --profile profiling --example clinic
//! thermograph flamegraph --program target/profiling/examples/clinic \
//!     --target 'GET /hello=20' --target 'GET /blocking-sleep=1' --target 'GET /cpu-burn=1'
//! ```
//!
//! An ill handler keeps a worker of the runtime for itself: its longest poll is as long as its
//! illness. A healthy one may take longer to answer, but its polls are short.

use std::{
    error::Error,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use clap::Parser;
use serde::Serialize;
use serde_json::json;
use tempfile::NamedTempFile;
use thermograph::{Door, Thermograph};
use tokio::{net::TcpListener, runtime, time};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

// Memory can be captured, as in the program itself.
thermograph::jemalloc!();

/// The flags of `thermograph serve` that `thermograph flamegraph --program` gives.
#[derive(Debug, Parser)]
struct Args {
    /// Address of the app.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Address of the diagnostics.
    #[arg(long, default_value = "127.0.0.1:6060")]
    diagnostics_listen: SocketAddr,
    /// Address that tokio-console attaches to.
    #[arg(long, default_value = "127.0.0.1:6669")]
    console_listen: SocketAddr,
    /// Write the addresses in use to this file, as JSON.
    #[arg(long)]
    addresses_file: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let thermograph = Thermograph::builder()
        .listen(args.diagnostics_listen)
        .console_listen(args.console_listen)
        .build()?;
    tracing_subscriber::registry().with(thermograph.tracing_layer()).init();
    let mut runtime = runtime::Builder::new_multi_thread();
    runtime.enable_all();
    // They tell how long a stall makes others wait.
    thermograph.hooks().install(&mut runtime);
    runtime.build()?.block_on(serve(&args, &thermograph))
}

async fn serve(args: &Args, thermograph: &Thermograph) -> Result<(), Box<dyn Error>> {
    let door = thermograph.serve()?;
    let app = wards(Clinic::open()?).layer(thermograph.layer());
    let listener = TcpListener::bind(args.listen).await?;
    announce(args, listener.local_addr()?, &door)?;
    // Latency counts from when a request arrived, as its client counts.
    let listener = thermograph.listener(listener);
    axum::serve(listener, app).with_graceful_shutdown(closing_time()).await?;
    Ok(())
}

fn wards(clinic: Clinic) -> Router {
    Router::new()
        .route("/hello", get(hello))
        .route("/healthy", get(healthy))
        .route("/spawned-blocking", get(spawned_blocking))
        .route("/blocking-sleep", get(blocking_sleep))
        .route("/lock", get(lock))
        .route("/file-read", get(file_read))
        .route("/cpu-burn", get(cpu_burn))
        .route("/big-json", get(big_json))
        .with_state(clinic)
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Clinic {
    /// Held most of the time by a thread that keeps house.
    visits: Arc<Mutex<u64>>,
    /// 32 MiB; deleted at the end.
    file: Arc<NamedTempFile>,
    /// 500,000 of them.
    records: Arc<Vec<Record>>,
}

/// What [`big_json`] sends.
#[derive(Debug, Serialize)]
struct Record {
    id: u32,
    name: String,
    ill: bool,
}

impl Clinic {
    fn open() -> std::io::Result<Self> {
        let visits = Arc::new(Mutex::new(0));
        let kept = Arc::clone(&visits);
        thread::Builder::new().name("housekeeper".to_owned()).spawn(move || keep_house(&kept))?;
        let file = NamedTempFile::new()?;
        fs::write(file.path(), vec![b'x'; 32 << 20])?;
        let record = |id| Record { id, name: format!("patient {id}"), ill: id % 3 == 0 };
        let records = (0..500_000).map(record).collect();
        Ok(Self { visits, file: Arc::new(file), records: Arc::new(records) })
    }
}

/// Holds the lock over its work: 25 of every 30 ms.
fn keep_house(visits: &Mutex<u64>) {
    loop {
        let held = visits.lock().unwrap_or_else(PoisonError::into_inner);
        thread::sleep(Duration::from_millis(25));
        drop(held);
        thread::sleep(Duration::from_millis(5));
    }
}

/// Healthy: has nothing to wait for.
#[tracing::instrument(skip_all)]
async fn hello() -> &'static str {
    "hello"
}

/// Healthy: waits 30 ms, and the worker does other things meanwhile.
#[tracing::instrument(skip_all)]
async fn healthy() -> &'static str {
    time::sleep(Duration::from_millis(30)).await;
    "rested"
}

/// Healthy: the same work as [`cpu_burn`], where work belongs.
#[tracing::instrument(skip_all)]
async fn spawned_blocking() -> String {
    match tokio::task::spawn_blocking(burn).await {
        Ok(hash) => format!("{hash:x}"),
        Err(error) => error.to_string(),
    }
}

/// Ill: sleeps with the worker in its arms. The cure is `tokio::time::sleep`.
#[tracing::instrument(skip_all)]
async fn blocking_sleep() -> &'static str {
    thread::sleep(Duration::from_millis(30));
    "slept"
}

/// Ill: waits for a lock that a thread holds over its work. The cure is to hold it shortly, or
/// `tokio::sync::Mutex`.
#[tracing::instrument(skip_all)]
async fn lock(State(clinic): State<Clinic>) -> String {
    let mut visits = clinic.visits.lock().unwrap_or_else(PoisonError::into_inner);
    *visits += 1;
    visits.to_string()
}

/// Ill: reads a file on the worker. The cure is `tokio::fs`, or `spawn_blocking`.
#[tracing::instrument(skip_all)]
async fn file_read(State(clinic): State<Clinic>) -> String {
    match fs::read(clinic.file.path()) {
        Ok(bytes) => bytes.len().to_string(),
        Err(error) => error.to_string(),
    }
}

/// Ill: computes for some 50 ms on the worker. The cure is `spawn_blocking`.
#[tracing::instrument(skip_all)]
async fn cpu_burn() -> String {
    format!("{:x}", burn())
}

/// Ill: serializes 500,000 records at once. The cure is to send pages of them.
#[tracing::instrument(skip_all)]
async fn big_json(State(clinic): State<Clinic>) -> Result<Vec<u8>, StatusCode> {
    serde_json::to_vec(&*clinic.records).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// FNV-1a over 50 million numbers: some 50 ms.
fn burn() -> u64 {
    let mix = |hash: u64, number: u64| (hash ^ number).wrapping_mul(0x100_0000_01b3);
    (0..50_000_000).fold(0xcbf2_9ce4_8422_2325, mix)
}

/// Writes the addresses as `thermograph serve` does: renamed into place, never half written.
fn announce(args: &Args, api: SocketAddr, door: &Door) -> std::io::Result<()> {
    println!("the clinic is at http://{api}, its diagnostics at http://{}/debug/", door.address());
    let Some(file) = &args.addresses_file else { return Ok(()) };
    let addresses =
        json!({ "api": api, "diagnostics": door.address(), "console": door.console_address() });
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, addresses.to_string())?;
    fs::rename(&unfinished, file)
}

/// Comes with SIGINT or SIGTERM.
#[cfg(unix)]
async fn closing_time() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        // Cancel-safe: whichever comes first, the app stops.
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Comes with ctrl-c.
#[cfg(not(unix))]
async fn closing_time() {
    // Without a handler the app ends at once, which is as good.
    let _ = tokio::signal::ctrl_c().await;
}
