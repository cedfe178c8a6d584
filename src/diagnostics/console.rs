//! tokio-console, fed only while somebody looks.
//!
//! The console's layer costs up to a third of a small handler's throughput. So it stands behind a
//! [`Gate`] that opens with the first call of a console and closes with the end of the last; tasks
//! spawned before that are not shown, unless the mode is `always`. Its server runs on a thread and
//! runtime of its own, with no subscriber, so that it does not watch itself.

use std::{net::TcpListener, thread};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use console_subscriber::{ConsoleLayer, ServerParts};
use http_body_util::BodyExt as _;
use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tracing::{Metadata, Subscriber, level_filters::LevelFilter, subscriber::NoSubscriber};
use tracing_subscriber::{Layer, registry::LookupSpan};

use super::{
    config::ConsoleMode,
    gate::{Gate, Hold},
};

/// The console's two ends, each taken once.
pub(crate) struct Console {
    gate: Gate,
    /// Keeps the gate open for good in mode `always`.
    always: Option<Hold>,
    layer: Option<ConsoleLayer>,
    server: Option<console_subscriber::Server>,
}

impl Console {
    pub(crate) fn new(mode: ConsoleMode) -> Self {
        let gate = Gate::new(is_runtime, LevelFilter::TRACE);
        let (layer, server) = match mode {
            ConsoleMode::Off => (None, None),
            ConsoleMode::OnAttach | ConsoleMode::Always => {
                let (layer, server) = ConsoleLayer::builder().build();
                (Some(layer), Some(server))
            }
        };
        let always = (mode == ConsoleMode::Always).then(|| gate.hold());
        Self { gate, always, layer, server }
    }

    pub(crate) fn take_layer<S>(&mut self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.layer.take().map(|layer| layer.with_filter(self.gate.clone()))
    }

    pub(crate) fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// The server's half, to be run by [`Server::spawn`]; none where the console is off or served already.
    pub(crate) fn take_server(&mut self) -> Option<Server> {
        let parts = self.server.take()?.into_parts();
        Some(Server { parts, gate: self.gate.clone() })
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("gate", &self.gate)
            .field("always", &self.always.is_some())
            .finish_non_exhaustive()
    }
}

/// What a console attaches to.
pub(crate) struct Server {
    parts: ServerParts,
    gate: Gate,
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
            let _unwatched = tracing::subscriber::set_default(NoSubscriber::default());
            runtime.block_on(self.serve(listener, stop));
        })
    }

    async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let Self { parts: ServerParts { instrument_server, aggregator, .. }, gate } = self;
        let aggregator = tokio::spawn(aggregator.run());
        let app = Router::new()
            .route_service("/rs.tokio.console.instrument.Instrument/{call}", instrument_server)
            .layer(middleware::from_fn_with_state(gate, attached));
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

/// Holds the gate open while a call of the console, a stream of updates above all, lasts.
async fn attached(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let hold = gate.hold();
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &hold;
            frame
        }))
    })
}

/// What Tokio tells of its tasks and resources, as the console's own filter has it.
fn is_runtime(meta: &Metadata<'_>) -> bool {
    if meta.is_event() {
        return meta.target().starts_with("runtime") || meta.target().starts_with("tokio");
    }
    meta.name().starts_with("runtime.") || meta.target().starts_with("tokio")
}
