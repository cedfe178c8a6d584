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

mod allocator;
pub mod arrival;
mod build_info;
mod builder;
pub mod capture;
mod config;
mod console;
mod coverage;
pub mod diagnosis;
pub mod doctor;
mod door;
mod gate;
mod history;
#[cfg(tokio_unstable)]
pub mod hooks;
#[cfg(not(tokio_unstable))]
#[path = "no_hooks.rs"]
pub mod hooks;
mod http;
mod jemalloc;
pub mod label;
mod live;
mod log;
mod memory;
mod metrics;
pub(crate) mod pool;
mod reach;
pub mod stall;
pub mod tasks;
pub(crate) mod timeline;
pub mod watch;
#[cfg(sampler)]
pub(crate) mod workers;

/// What [`jemalloc!`] expands to.
#[doc(hidden)]
#[cfg(heap)]
pub mod __private {
    pub use tikv_jemallocator::Jemalloc;
}

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

pub use allocator::NoHeap;
pub use arrival::{TimedListener, TimedStream};
pub use build_info::BuildInfo;
pub use builder::{BuildError, Builder};
pub use config::{Config, ConsoleMode, HeapMode, Invalid, Stacks, Token};
pub use diagnosis::Diagnosis;
pub use doctor::Examination;
pub use door::{Door, ServeError};
pub use hooks::{Callbacks, Hooks};
pub use memory::Memory;
pub use stall::{Class, NoStack, NoStall, Stall};
pub use tasks::{TaskReport, TaskRow};
pub use thermograph_profile::{Frame, Location, Mapping, Profile, Sample, ValueType, flamegraph};
pub use watch::{Ledger, WatchLayer};

use crate::{capture::Captures, console::Console, coverage::Coverage};

/// The diagnostics of one process: cheap to clone, all clones are one.
#[derive(Clone, Debug)]
pub struct Thermograph {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    ledger: &'static Ledger,
    captures: Captures,
    /// Where they are kept.
    folder: Arc<thermograph_profile::captures::Folder>,
    // Before the stalls, whose books it reads.
    history: history::History,
    stalls: stall::Watch,
    pools: pool::Pools,
    /// Taken apart once: the layer by `tracing_layer`, the server by `serve`.
    console: Mutex<Console>,
    exposition: Vec<metrics::Exposition>,
    examinations: Vec<doctor::Examine>,
    /// A permit each while the app's metrics are rendered.
    rendering: Arc<tokio::sync::Semaphore>,
    timeline: timeline::Timeline,
    /// Finds out what reaches the tracing layer.
    probe: reach::Probe,
    /// Who asks tasks where they wait.
    #[cfg(all(sampler, tokio_unstable))]
    asking: capture::Turns,
    /// What the hooks of all runtimes share; made with the first.
    #[cfg(tokio_unstable)]
    hooks: std::sync::OnceLock<Arc<hooks::Shared>>,
}

impl Inner {
    /// Returns whether the hooks were installed on any runtime.
    fn is_hooked(&self) -> bool {
        #[cfg(tokio_unstable)]
        let is_hooked = self.hooks.get().is_some_and(|hooks| hooks.is_installed());
        #[cfg(not(tokio_unstable))]
        let is_hooked = false;
        is_hooked
    }

    /// Returns how much of the work outside of handlers is seen.
    fn coverage(&self) -> Coverage {
        Coverage::new(self.stalls.workers(), self.is_hooked())
    }
}

impl Thermograph {
    /// Starts a builder with the default [`Config`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The Tower layer that writes down what each handler costs.
    ///
    /// Put it on with [`Router::layer`] as the last and so outermost layer: it then sees the
    /// matched path, and its poll times cover all that runs for a request.
    #[track_caller]
    pub fn layer(&self) -> WatchLayer {
        self.note_runtime();
        WatchLayer::new(self.inner.ledger)
    }

    /// Wraps a listener, so that latency counts from when a request's bytes arrived.
    ///
    /// Without it latency counts from when the handler was first polled, which is after the wait
    /// for a worker: see [`arrival`].
    pub fn listener(&self, listener: tokio::net::TcpListener) -> TimedListener {
        let listener = TimedListener::new(listener);
        if listener.is_stamped() {
            self.inner.ledger.waits().are_told();
        }
        listener
    }

    /// Hooks for a Tokio runtime: they name the work that a handler spawns after the handler, and
    /// other tasks after the place where they were spawned.
    ///
    /// Without `--cfg tokio_unstable` Tokio has no hooks: installing them does nothing then, which
    /// the [doctor](Self::doctor) says. See [`hooks`] for what they do not see.
    pub fn hooks(&self) -> Hooks {
        #[cfg(tokio_unstable)]
        {
            let shared = || Arc::new(hooks::Shared::new(self.inner.ledger, self.console().gate()));
            Hooks::new(Arc::clone(self.inner.hooks.get_or_init(shared)))
        }
        #[cfg(not(tokio_unstable))]
        Hooks::default()
    }

    /// The tracing layer for captures of spans and for tokio-console.
    ///
    /// Both are behind filters that are off until somebody captures or attaches. A second call
    /// gives a layer without the console, which can have one layer only.
    ///
    /// A filter that is a layer by itself, as in `.with(EnvFilter::new("info"))`, holds for all
    /// layers, this one too. Put it on the layer that it is meant for, as in
    /// `.with(fmt::layer().with_filter(EnvFilter::new("info")))`. The [doctor](Self::doctor) tells
    /// if something keeps spans from this layer.
    pub fn tracing_layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let console = self.console().take_layer();
        let inner = &self.inner;
        let spans = inner.captures.spans().layer().and_then(inner.timeline.layer());
        spans.and_then(console).and_then(inner.probe.layer())
    }

    /// The routes under `/debug/` and `/metrics`, to mount where you want them.
    ///
    /// They check the token and the host as [`Thermograph::serve`] does. On the app's own
    /// runtime they stop answering when its workers are blocked: prefer `serve`.
    pub fn router(&self) -> Router {
        http::router(self)
    }

    /// Binds the door and the console now, and serves them from threads of their own.
    ///
    /// Two seconds later one line in the app's log says what the [doctor](Self::doctor) has found: a
    /// warning if anything is missing. It is logged once in a process, from a thread of its own.
    pub fn serve(&self) -> Result<Door, ServeError> {
        let wants_tls = !self.inner.config.tls_cert.as_os_str().is_empty();
        if wants_tls { Err(ServeError::NoTls) } else { self.serve_on(|listener| listener) }
    }

    /// [`Thermograph::serve`], on a listener that is made of the one that is bound.
    pub fn serve_on<L: axum::serve::Listener<Addr: std::fmt::Debug>>(
        &self,
        listen: impl FnOnce(tokio::net::TcpListener) -> L + Send + 'static,
    ) -> Result<Door, ServeError> {
        self.note_runtime();
        door::open(self, listen)
    }

    /// The newest stalls, the newest first.
    ///
    /// To put names to their stacks may take some hundred milliseconds: not for a worker.
    pub fn stalls(&self) -> Vec<Stall> {
        let stalls = self.inner.stalls.store().newest();
        stall::name(&stalls);
        stalls.iter().map(|record| record.stall()).collect()
    }

    /// What this build and this machine can show and what they cannot, with what mends it.
    ///
    /// It reads debug information, which takes a tenth of a second: not for a worker.
    pub fn doctor(&self) -> Examination {
        Examination::of(self)
    }

    /// For tests of an app: fails when dropped, if a handler stalled in between.
    ///
    /// A stall of class `preempted` does not count: the machine was busy. Nor does one inside of
    /// `tokio::task::block_in_place`, which hands the worker to another thread; it is told by the
    /// stack, so that it counts where stacks are off.
    ///
    /// Without the runtime's [`hooks`](Self::hooks), spawned tasks are seen only as far as
    /// [`NoStall::gap`] tells.
    ///
    /// ```no_run
    /// # use thermograph::Thermograph;
    /// # fn drive(app: axum::Router) {}
    /// let thermograph = Thermograph::builder().build().expect("valid");
    /// let app = axum::Router::new().layer(thermograph.layer());
    /// let guard = thermograph.assert_no_stall();
    /// drive(app);
    /// drop(guard); // panics with handler, class and stack
    /// ```
    pub fn assert_no_stall(&self) -> NoStall {
        self.note_runtime();
        NoStall::new(self)
    }

    /// What each handler has cost so far.
    pub fn ledger(&self) -> &'static Ledger {
        self.inner.ledger
    }

    /// Has the runtime that this is called in watched: its blocking pool, and its workers outside of
    /// polls.
    fn note_runtime(&self) {
        pool::note(self.inner.ledger.overruns());
        #[cfg(sampler)]
        workers::note(self.inner.ledger.overruns());
    }

    fn console(&self) -> std::sync::MutexGuard<'_, Console> {
        self.inner.console.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
