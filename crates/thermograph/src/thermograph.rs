//! The diagnostics of a process, as an app sees them.

mod builder;

#[cfg(tokio_unstable)]
use std::sync::Arc;

use std::time::Duration;

use axum::Router;
use thermograph_profile::Profile;
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

pub use self::builder::{BuildError, Builder};
#[cfg(tokio_unstable)]
use crate::hooks;
use crate::{
    arrival::TimedListener,
    capture::{CaptureError, Window},
    diagnosis::Diagnosis,
    doctor::Examination,
    door::{self, Door, ServeError},
    guard::NoStall,
    handlers::{HandlerRow, Ledger},
    hooks::Hooks,
    http,
    instance::Instance,
    profiles::{self, CaptureKind},
    stall::Stall,
    tasks::{TaskReport, Tasks},
    verdicts,
    watch::WatchLayer,
};

/// Samples a second of what is captured in code.
const FREQUENCY: u32 = 99;

/// The diagnostics of one process: cheap to clone, all clones are one.
#[derive(Clone, Debug)]
pub struct Thermograph {
    pub(crate) instance: Instance,
}

impl Thermograph {
    /// Starts a builder with the default [`Config`](crate::Config).
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The Tower layer that writes down what each handler costs.
    ///
    /// Put it on with [`Router::layer`] as the last and so outermost layer: it then sees the
    /// matched path, and its poll times cover all that runs for a request.
    #[track_caller]
    pub fn layer(&self) -> WatchLayer {
        self.instance.note_runtime();
        WatchLayer::new(self.instance.ledger)
    }

    /// Wraps a listener, so that latency counts from when a request's bytes arrived.
    ///
    /// Without it latency counts from when the handler was first polled, which is after the wait
    /// for a worker: see [`arrival`](crate::arrival).
    pub fn listener(&self, listener: tokio::net::TcpListener) -> TimedListener {
        let listener = TimedListener::new(listener);
        if listener.is_stamped() {
            self.instance.ledger.waits().are_told();
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
            let shared = || {
                Arc::new(hooks::Shared::new(self.instance.ledger, self.instance.console().gate()))
            };
            Hooks::new(Arc::clone(self.instance.hooks.get_or_init(shared)))
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
        let console = self.instance.console().take_layer();
        let inner = &self.instance;
        let spans = inner.captures.spans().layer().and_then(inner.recorder.layer());
        spans.and_then(console).and_then(inner.probe.layer())
    }

    /// The routes under `/debug/` and `/metrics`, to mount where you want them.
    ///
    /// They check the token and the host as [`Thermograph::serve`] does. On the app's own
    /// runtime they stop answering when its workers are blocked: prefer `serve`.
    pub fn router(&self) -> Router {
        http::router(&self.instance)
    }

    /// Binds the door and the console now, and serves them from threads of their own.
    ///
    /// Two seconds later one line in the app's log says what the [doctor](Self::doctor) has found: a
    /// warning if anything is missing. It is logged once in a process, from a thread of its own.
    pub fn serve(&self) -> Result<Door, ServeError> {
        let wants_tls = !self.instance.config.tls_cert.as_os_str().is_empty();
        if wants_tls { Err(ServeError::NoTls) } else { self.serve_on(|listener| listener) }
    }

    /// [`Thermograph::serve`], on a listener that is made of the one that is bound.
    pub fn serve_on<L: axum::serve::Listener<Addr: std::fmt::Debug>>(
        &self,
        listen: impl FnOnce(tokio::net::TcpListener) -> L + Send + 'static,
    ) -> Result<Door, ServeError> {
        self.instance.note_runtime();
        door::open(&self.instance, listen)
    }

    /// Captures a profile over a window that begins now and is `duration` long: pictures, pprof files
    /// and folded stacks are made of it.
    ///
    /// CPU time and wall-clock time are sampled 99 times a second. Captures of one kind share their
    /// samples, but for spans, of which there is one capture at a time.
    ///
    /// ```no_run
    /// # async fn example(thermograph: thermograph::Thermograph) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use thermograph::{CaptureKind, flamegraph};
    ///
    /// let profile = thermograph.capture(CaptureKind::Cpu, Duration::from_secs(10)).await?;
    /// std::fs::write("cpu.svg", flamegraph::draw(&profile, &flamegraph::Caption::cpu())?)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`CaptureError`]: among others, the system does not let stacks be taken, or the program
    /// lacks what memory or spans are captured with.
    pub async fn capture(
        &self,
        kind: CaptureKind,
        duration: Duration,
    ) -> Result<Profile, CaptureError> {
        let window = Window { duration, force: false };
        let unnamed = profiles::capture(&self.instance, kind, FREQUENCY, window).await?;
        profiles::named(unnamed).await
    }

    /// Judges every handler over a window that begins now and is `duration` long, in which CPU time
    /// is captured: blocking, hot or healthy, with what shows it.
    ///
    /// ```no_run
    /// # async fn example(thermograph: thermograph::Thermograph) -> Result<(), Box<dyn std::error::Error>> {
    /// let diagnosis = thermograph.diagnose(std::time::Duration::from_secs(10)).await?;
    /// for verdict in &diagnosis.verdicts {
    ///     println!("{}", verdict.summary);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Stacks could not be named. Where CPU time cannot be captured, the [notes](Diagnosis::notes)
    /// say so.
    pub async fn diagnose(&self, duration: Duration) -> Result<Diagnosis, CaptureError> {
        verdicts::over(&self.instance, Window { duration, force: false }).await
    }

    /// Every live task, with what it does and what it waits for; without `tokio_unstable` and the
    /// [hooks](Self::hooks) none is known, which the report says.
    ///
    /// It may look up names, which takes some hundred milliseconds: not for a worker.
    pub fn tasks(&self) -> TaskReport {
        Tasks::of(&self.instance, None).report
    }

    /// What each handler has cost since the start.
    pub fn handlers(&self) -> Vec<HandlerRow> {
        self.instance.ledger.report().handlers
    }

    /// The newest stalls, the newest first.
    ///
    /// To put names to their stacks may take some hundred milliseconds: not for a worker.
    pub fn stalls(&self) -> Vec<Stall> {
        self.instance.stalls()
    }

    /// What this build and this machine can show and what they cannot, with what mends it.
    ///
    /// It reads debug information, which takes a tenth of a second: not for a worker.
    pub fn doctor(&self) -> Examination {
        Examination::of(&self.instance)
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
        self.instance.note_runtime();
        NoStall::new(&self.instance)
    }

    /// What each handler has cost so far.
    pub fn ledger(&self) -> &'static Ledger {
        self.instance.ledger
    }
}
