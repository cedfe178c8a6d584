//! tokio-console, fed only while somebody looks.
//!
//! The console's layer costs up to a third of a small handler's throughput. So it stands behind a
//! [`Gate`](super::gate::Gate) that opens with the first call of a console and closes with the end
//! of the last. Tokio tells of the tasks that are spawned in between; those that were spawned before
//! are listed from the table of tasks, where a runtime has the hooks (`listing`). Its server
//! runs on a thread and runtime of its own, with no subscriber, so that it does not watch itself.
//!
//! Tokio's tasks are connections. Requests are shown beside them, by a span that the
//! [layer](crate::Thermograph::layer) makes for some of them while a console is
//! attached (`watch/row`).

#[cfg(tokio_unstable)]
mod listing;
mod valve;

use std::{net::TcpListener, thread, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use console_subscriber::{ConsoleLayer, ServerParts};
use http_body_util::BodyExt as _;
use tokio::{runtime, task};
use tokio_util::sync::CancellationToken;
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

use self::valve::Valve;
use super::{build_info::BuildInfo, config::ConsoleMode, gate::Hold, log, reach::Probe};
use crate::handlers::{Attached, Budget, Ledger};

/// How long what has ended is kept: as long as tokio-console shows it.
///
/// Each row has two histograms of 24 KiB, so that a thousand rows a second are 300 MiB.
const RETENTION: Duration = Duration::from_secs(6);

/// The console's two ends, each taken once.
pub(crate) struct Console {
    tap: Tap,
    /// Keeps it open for good in mode `always`.
    always: Option<Open>,
    layer: Option<ConsoleLayer>,
    server: Option<console_subscriber::Server>,
}

/// Where what the console shows comes from.
#[derive(Clone, Debug)]
struct Tap {
    valve: Valve,
    requests: &'static Budget,
    /// Lists the tasks that live when a console attaches.
    #[cfg(tokio_unstable)]
    lister: Option<listing::Lister>,
}

/// Keeps a [`Tap`] open.
#[derive(Debug)]
struct Open {
    // First: no request is shown to a closed gate.
    _requests: Attached,
    _gate: Hold,
}

impl Console {
    /// A console, unless its mode is `off`; with `tokio_unstable` only, without which Tokio tells
    /// nothing and the console's layer refuses to be built.
    pub(crate) fn new(mode: ConsoleMode, ledger: &'static Ledger, probe: &Probe) -> Self {
        let valve = Valve::new();
        // In mode `always` Tokio has told of every task.
        #[cfg(tokio_unstable)]
        let lister = (mode == ConsoleMode::OnAttach)
            .then(|| listing::Lister::new(ledger.overruns(), valve.clone(), probe.clone()));
        #[cfg(not(tokio_unstable))]
        let _ = probe;
        let tap = Tap {
            valve,
            requests: ledger.budget(),
            #[cfg(tokio_unstable)]
            lister,
        };
        if mode == ConsoleMode::Off || !BuildInfo::CURRENT.tokio_unstable {
            return Self { tap, always: None, layer: None, server: None };
        }
        let (layer, server) = ConsoleLayer::builder().retention(RETENTION).build();
        let always = (mode == ConsoleMode::Always).then(|| tap.open());
        Self { tap, always, layer: Some(layer), server: Some(server) }
    }

    pub(crate) fn take_layer<S>(&mut self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.layer.take().map(|layer| layer.with_filter(self.tap.valve.clone()))
    }

    /// Open while Tokio tells of the tasks that it spawns.
    #[cfg(tokio_unstable)]
    pub(crate) fn gate(&self) -> super::gate::Gate {
        self.tap.valve.gate().clone()
    }

    /// Tasks and resources that were not shown, past what a console can take.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 2] {
        self.tap.valve.refused()
    }

    pub(crate) fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// The server's half, to be run by [`Server::spawn`]; none where the console is off or served already.
    pub(crate) fn take_server(&mut self) -> Option<Server> {
        let parts = self.server.take()?.into_parts();
        Some(Server { parts, tap: self.tap.clone() })
    }
}

impl Tap {
    fn open(&self) -> Open {
        let gate = self.valve.gate().hold();
        #[cfg(tokio_unstable)]
        if let Some(lister) = &self.lister {
            lister.begin();
        }
        Open { _requests: self.requests.attach(), _gate: gate }
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("tap", &self.tap)
            .field("always", &self.always.is_some())
            .finish_non_exhaustive()
    }
}

/// What a console attaches to.
pub(crate) struct Server {
    parts: ServerParts,
    tap: Tap,
}

impl Server {
    /// Serves the console on a thread of its own until `stop` is cancelled.
    pub(crate) fn spawn(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> std::io::Result<thread::JoinHandle<()>> {
        listener.set_nonblocking(true)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("thermograph-console".to_owned()).spawn(move || {
            log::detach();
            runtime.block_on(self.serve(listener, stop));
        })
    }

    async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let Self { parts: ServerParts { instrument_server, aggregator, .. }, tap } = self;
        // It empties its queue once a second, at once: by Tokio's budget of a task's poll it would
        // take 128 events each time, while the rest piles up.
        let aggregator = tokio::spawn(task::unconstrained(aggregator.run()));
        let app = Router::new()
            .route_service("/rs.tokio.console.instrument.Instrument/{call}", instrument_server)
            .layer(middleware::from_fn_with_state(tap, attached));
        // A listener that the runtime refuses is as good as one that ended: there is no console.
        if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
            tokio::select! {
                // Cancel-safe: at the stop every connection is dropped on purpose.
                _ = axum::serve(listener, app) => {}
                () = stop.cancelled() => {}
            }
        }
        aggregator.abort();
    }
}

/// Keeps the tap open while a call of the console, a stream of updates above all, lasts.
async fn attached(State(tap): State<Tap>, request: Request, next: Next) -> Response {
    let open = tap.open();
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _open = &open;
            frame
        }))
    })
}
