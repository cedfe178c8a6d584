//! Accepts connections and serves them, until told to stop.
//!
//! Not `axum::serve`: it leaves Nagle's algorithm on, has no time-out for a request's head, no
//! bound on connections, and closes the listener the moment it is told to stop. Nor hyper-util's
//! `GracefulShutdown`: it cuts off a connection whose first request is still on its way.

mod again;
mod connection;
mod discard;
mod half_close;
mod host;
mod last;
mod limit;
mod lingering;
mod listen;
mod patience;
mod stream;
mod tls;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::Router;
use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use self::{
    again::Again,
    connection::{Connection, Requests},
    limit::{Limit, Slot},
    listen::Socket,
    stream::Stream,
};
pub(crate) use self::{
    limit::OnFull,
    listen::{Listener, SocketFile},
    tls::{Tls, TlsListener},
};
use super::{
    config::Api,
    shutdown::Stop,
    task::{self, Streams},
};

/// How long a connection that was taken before the drain has for its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(2);
/// How long who had begun to connect before the drain has to come to the end of it: a round trip.
const HANDSHAKE: Duration = Duration::from_millis(100);
/// Largest head of a request; hyper's own bound is 400 KiB, and there may be thousands.
const HEAD: usize = 64 << 10;

/// Limit on open connections over the limit of served ones. Each is answered 503 and closed; further
/// ones wait in the kernel's queue.
pub(crate) const SPARE_CONNECTIONS: usize = 64;
/// Longest time that a connection over the limit is open.
const SPARE_TIME: Duration = Duration::from_secs(10);

/// Answers requests.
pub(crate) struct App {
    pub(crate) routes: Router,
    /// Answers requests on connections over the limit.
    pub(crate) full: Router,
    /// Answers requests without a valid `Host` header.
    pub(crate) bad_host: Router,
    pub(crate) on_full: OnFull,
}

/// Serves `app` on `listener` until `stop`, then drains: for `shutdown_grace` connections are still
/// accepted and answers ask to close them; after it, requests in flight have `drain_timeout`.
pub(crate) async fn run(listener: Listener, app: App, api: &Api, stop: Stop) {
    run_counted(listener, app, api, stop, Arc::default()).await;
}

/// [`run`], with a count of what connects.
pub(crate) async fn run_counted(
    listener: Listener,
    app: App,
    api: &Api,
    stop: Stop,
    counts: Arc<Counts>,
) {
    let connections = Connections::new(app, api, counts);
    tokio::select! {
        // Cancel-safe: a connection is either not accepted yet, or has its own task.
        () = connections.accept(&listener) => {}
        () = stop.requested.cancelled() => {}
    }
    connections.closing.store(true, Relaxed);
    tokio::select! {
        // A client that connects now is answered: its balancer may not know yet.
        () = connections.accept(&listener) => {}
        () = time::sleep(api.shutdown_grace) => {}
        () = stop.interrupted.cancelled() => {}
    }
    // Closing it resets connections that are not accepted: first, no more of them begin.
    listener.refuse_new();
    let _passed = time::timeout(HANDSHAKE, connections.accept(&listener)).await;
    drop(listener);
    connections.drain(api.drain_timeout).await;
}

/// Connections that are open, and all that there ever were.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) open: AtomicU64,
    pub(crate) total: AtomicU64,
}

/// A connection that is open; dropped, it is closed.
struct Open(Arc<Counts>);

/// Permission of a connection to be open.
enum Place {
    Counted {
        _slot: Slot,
    },
    /// Over the limit.
    Spare {
        _permit: OwnedSemaphorePermit,
    },
}

struct Connections {
    routes: Router,
    full: Router,
    bad_host: Router,
    builder: Arc<auto::Builder<Streams>>,
    /// Whether answers ask their clients to close the connection, so that none is closed under a
    /// request that is just being sent.
    closing: Arc<AtomicBool>,
    /// Whether connections are to end after what is on its way; each that is open listens.
    draining: watch::Sender<bool>,
    limit: Arc<Limit>,
    /// Permits for connections over the limit.
    spare: Arc<Semaphore>,
    counts: Arc<Counts>,
    /// Longest time that a client may take nothing.
    patience: Duration,
}

impl Connections {
    fn new(app: App, api: &Api, counts: Arc<Counts>) -> Self {
        let App { routes, full, bad_host, on_full } = app;
        let mut builder = auto::Builder::new(Streams);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(api.idle_timeout)
            .max_buf_size(HEAD);
        let keep_alive = api.idle_timeout;
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(keep_alive);
        let builder = Arc::new(builder);
        let (draining, patience) = (watch::Sender::new(false), api.idle_timeout);
        let closing = Arc::new(AtomicBool::new(false));
        let limit = Arc::new(Limit::new(api.max_connections, on_full));
        let spare = Arc::new(Semaphore::new(SPARE_CONNECTIONS));
        Self { routes, full, bad_host, builder, closing, draining, limit, spare, counts, patience }
    }

    /// Accepts for ever, also over the limit: a client that is answered 503 can try elsewhere.
    async fn accept(&self, listener: &Listener) {
        loop {
            // Taken first: what is accepted can be answered.
            let Ok(spare) = Arc::clone(&self.spare).acquire_owned().await else { return };
            match listener.accept().await {
                Ok(socket) => {
                    let place = match self.limit.open() {
                        Some(slot) => Place::Counted { _slot: slot },
                        None => Place::Spare { _permit: spare },
                    };
                    self.serve(socket, listener.tls.clone(), place);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    // Out of file descriptors as a rule: one must be closed first.
                    time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn serve(&self, socket: Socket, tls: Option<Tls>, place: Place) {
        if let Err(error) = socket.set_nodelay() {
            tracing::debug!(%error, "TCP_NODELAY is not set");
        }
        let is_spare = matches!(place, Place::Spare { .. });
        let requests = self.requests(is_spare);
        let connection = Arc::clone(&requests.connection);
        let (builder, patience) = (Arc::clone(&self.builder), self.patience);
        let mut draining = self.draining.subscribe();
        let open = Open::new(&self.counts);
        let served = async move {
            let mut stop = pin!(async {
                if !is_spare {
                    drop(draining.wait_for(|draining| *draining).await);
                }
                let _passed = time::timeout(FIRST_REQUEST, connection.asked.wait()).await;
            });
            let stream = tokio::select! {
                stream = secure(socket, tls.as_ref()) => stream,
                // An unfinished handshake is abandoned.
                () = &mut stop => {
                    tls.inspect(Tls::given_up);
                    None
                }
            };
            let Some(stream) = stream else { return };
            let stream = Stream::new(stream, patience, Arc::clone(&connection.half_close));
            let service = service_fn(move |request| requests.answer(request));
            let serving = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            let mut serving = pin!(serving);
            let result = tokio::select! {
                // Cancel-safe: it is gone on with below.
                result = &mut serving => result,
                () = stop => {
                    serving.as_mut().graceful_shutdown();
                    if is_spare {
                        time::timeout(SPARE_TIME, serving).await.unwrap_or(Ok(()))
                    } else {
                        serving.await
                    }
                }
            };
            if let Err(error) = result {
                tracing::debug!(error, "a connection ended");
            }
            drop((place, open));
        };
        // Boxed: tokio-console warns of tasks over a kilobyte.
        task::spawn("connection", Again::new(served));
    }

    fn requests(&self, is_spare: bool) -> Requests {
        let (routes, closing) = if is_spare {
            (&self.full, Arc::new(AtomicBool::new(true)))
        } else {
            (&self.routes, Arc::clone(&self.closing))
        };
        Requests {
            routes: TowerToHyperService::new(routes.clone()),
            bad_host: TowerToHyperService::new(self.bad_host.clone()),
            connection: Arc::new(Connection::new(closing)),
        }
    }

    async fn drain(self, timeout: Duration) {
        let open = self.draining.receiver_count();
        tracing::info!(connections = open, "draining");
        self.draining.send_replace(true);
        if time::timeout(timeout, self.draining.closed()).await.is_ok() {
            tracing::info!("drained");
        } else {
            let left = self.draining.receiver_count();
            tracing::warn!(connections = left, "cut off: they took longer than drain_timeout");
        }
    }
}

/// The connection as HTTP is spoken on it: after the handshake, if there is TLS.
async fn secure(
    socket: Socket,
    tls: Option<&Tls>,
) -> Option<Either<Socket, Box<TlsStream<Socket>>>> {
    match tls {
        None => Some(Either::Left(socket)),
        Some(tls) => tls.accept(socket).await.map(Either::Right),
    }
}

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Relaxed);
        counts.total.fetch_add(1, Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl App {
    /// Routes of a server for tests, whose clients need no reason for a rejection.
    pub(crate) fn plain(routes: Router) -> Self {
        Self {
            routes,
            full: Router::new().fallback(async || StatusCode::SERVICE_UNAVAILABLE),
            bad_host: Router::new().fallback(async || StatusCode::BAD_REQUEST),
            on_full: Box::new(|_| {}),
        }
    }
}
