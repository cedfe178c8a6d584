//! Which handlers of an Axum app run hot, and which block the executor.
//!
//! For anyone's app: a [Tower layer](Thermograph::layer) that writes down what every handler
//! costs, a [tracing layer](Thermograph::tracing_layer) for spans and tokio-console, and a
//! [door](Thermograph::serve) of its own, on its own thread and runtime, which answers while
//! every worker of the app is blocked.
//!
//! It does not store anything, does not push anywhere, and does not replace a tracing backend.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use thermograph::Thermograph;
//! use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let thermograph = Thermograph::builder().build()?;
//! tracing_subscriber::registry().with(thermograph.tracing_layer()).init();
//! let door = thermograph.serve()?; // http://127.0.0.1:6060/debug/
//!
//! let mut runtime = tokio::runtime::Builder::new_multi_thread();
//! thermograph.hooks().install(runtime.enable_all()); // names of tasks, with tokio_unstable
//! runtime.build()?.block_on(async {
//!     let app = Router::new().route("/", get(|| async { "hello" })).layer(thermograph.layer());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, app).await
//! })?;
//! # drop(door); Ok(()) }
//! ```
//!
//! # Modules, from the bottom up
//!
//! - `allocator`, `arrival`, `build_info`, `checks`, `class`, `coverage`, `exposition`, `gate`,
//!   `html_escape`, `jemalloc`, `log`, `memory`, `reach`, `runtimes`, `stage`: no module of the library is
//!   below these.
//! - `handlers`: what each handler has cost, and what is published of a poll while it lasts.
//! - `config`, `pool`, `task_table`, `workers`: the configuration; blocking pools, live tasks, and
//!   workers that are busy outside of known polls.
//! - `capture`, `hooks`, `stall`, `watch`: profiles over a window, the runtime's hooks, the
//!   watchdog, the Tower layer.
//! - `console`, `diagnosis`, `history`, `label`, `recorder`: tokio-console, verdicts, the last
//!   minutes, attribution, the recorder of timelines.
//! - `instance`: all of these, put together.
//! - `doctor`, `guard`, `live`, `metrics`, `tasks`, `timeline`: what is told of an instance.
//! - `profiles`: what is captured of it over a window.
//! - `verdicts`: a diagnosis of that.
//! - `http`: the same over HTTP.
//! - `door`: the server, on a thread of its own.
//! - `thermograph`: what an app sees.

#![forbid(unsafe_code)]

mod allocator;
pub mod arrival;
mod build_info;
pub mod capture;
mod checks;
mod class;
mod config;
mod console;
mod coverage;
pub mod diagnosis;
pub mod doctor;
mod door;
mod exposition;
mod gate;
mod guard;
pub mod handlers;
mod history;
#[cfg(tokio_unstable)]
pub mod hooks;
#[cfg(not(tokio_unstable))]
#[path = "no_hooks.rs"]
pub mod hooks;
mod html_escape;
mod http;
mod instance;
#[doc(hidden)]
pub mod jemalloc;
pub mod label;
mod live;
mod log;
mod memory;
mod metrics;
pub(crate) mod pool;
mod profiles;
mod reach;
mod recorder;
mod runtimes;
mod stage;
pub mod stall;
#[cfg(tokio_unstable)]
mod task_table;
pub mod tasks;
mod thermograph;
pub(crate) mod timeline;
mod verdicts;
pub mod watch;
#[cfg(sampler)]
pub(crate) mod workers;

pub use allocator::NoHeap;
pub use arrival::{TimedListener, TimedStream};
pub use build_info::BuildInfo;
pub use capture::CaptureError;
pub use class::{Class, NoStack};
pub use config::{Config, ConsoleMode, HeapMode, Invalid, Stacks, Token};
pub use diagnosis::Diagnosis;
pub use doctor::Examination;
pub use door::{Door, ServeError};
pub use guard::NoStall;
pub use handlers::Ledger;
pub use hooks::{Callbacks, Hooks};
pub use memory::Memory;
pub use profiles::CaptureKind;
pub use stall::Stall;
pub use tasks::{TaskReport, TaskRow};
pub use thermograph::{BuildError, Builder, Thermograph};
pub use thermograph_profile::{Frame, Location, Mapping, Profile, Sample, ValueType, flamegraph};
pub use watch::WatchLayer;

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
