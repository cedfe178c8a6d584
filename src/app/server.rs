//! Accepts connections and serves them, until told to stop.
//!
//! Not `axum::serve`: it leaves Nagle's algorithm on, has no time-out for a request's head, no
//! bound on connections, and closes the listener the moment it is told to stop. Nor hyper-util's
//! `GracefulShutdown`: it cuts off a connection whose first request is still on its way.

mod again;
mod last;
mod lingering;
mod patience;
mod stream;

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::Router;
use http::{HeaderValue, Request, Version, header};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SetOnce, watch},
    time,
};
use tokio_util::sync::CancellationToken;

use self::{again::Again, stream::Stream};
use super::{
    config::Api,
    task::{self, Streams},
};
use crate::diagnostics::{TimedListener, TimedStream};

/// How long a connection that was taken before the drain has for its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(2);
/// How long who had begun to connect before the drain has to come to the end of it: a round trip.
const HANDSHAKE: Duration = Duration::from_millis(100);
/// Largest head of a request; hyper's own bound is 400 KiB, and there may be thousands.
const HEAD: usize = 64 << 10;

/// Serves `app` on `listener` until `stop`, then drains: for `shutdown_grace` connections are
/// still taken and answers ask to close them; after it, what is on its way has `drain_timeout`.
pub(crate) async fn run(listener: TimedListener, app: Router, api: &Api, stop: CancellationToken) {
    run_counted(listener, app, api, stop, Arc::default()).await;
}

/// [`run`], with a count of what connects.
pub(crate) async fn run_counted(
    listener: TimedListener,
    app: Router,
    api: &Api,
    stop: CancellationToken,
    counts: Arc<Counts>,
) {
    let mut connections = Connections::new(app, api, counts);
    tokio::select! {
        // Cancel-safe: a connection is either not accepted yet, or has its own task.
        () = connections.accept(&listener) => {}
        () = stop.cancelled() => {}
    }
    connections.closing.store(true, Relaxed);
    // A client that connects now finds somebody: its balancer may not know yet.
    let _passed = time::timeout(api.shutdown_grace, connections.accept(&listener)).await;
    // Closing it resets who is connected and not accepted: first nobody begins any more.
    last::refuse_new(listener.get_ref());
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

/// What the requests of one connection know of it.
struct Taken {
    /// That the first has come.
    asked: SetOnce<()>,
    closing: Arc<AtomicBool>,
}

/// A connection that is open; dropped, it is closed.
struct Open(Arc<Counts>);

struct Connections {
    app: Router,
    builder: auto::Builder<Streams>,
    /// Whether answers ask their clients to close the connection, so that none is closed under a
    /// request that is just being sent.
    closing: Arc<AtomicBool>,
    /// Whether connections are to end after what is on its way; each that is open listens.
    draining: watch::Sender<bool>,
    permits: Arc<Semaphore>,
    counts: Arc<Counts>,
    /// Longest time that a client may take nothing.
    patience: Duration,
}

impl Connections {
    fn new(app: Router, api: &Api, counts: Arc<Counts>) -> Self {
        let mut builder = auto::Builder::new(Streams);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(api.idle_timeout)
            .max_buf_size(HEAD);
        let keep_alive = api.idle_timeout;
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(keep_alive);
        let permits = Arc::new(Semaphore::new(api.max_connections));
        let (draining, patience) = (watch::Sender::new(false), api.idle_timeout);
        let closing = Arc::new(AtomicBool::new(false));
        Self { app, builder, closing, draining, permits, counts, patience }
    }

    /// Accepts for ever. Past the bound on connections, new ones wait in the kernel's queue.
    async fn accept(&mut self, listener: &TimedListener) {
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => self.serve(stream, permit),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    // Out of file descriptors as a rule: one must be closed first.
                    time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn serve(&self, stream: TimedStream, permit: OwnedSemaphorePermit) {
        // Without it, small answers wait for a delayed acknowledgement: 40 ms.
        if let Err(error) = stream.get_ref().set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not set");
        }
        let taken = Taken { asked: SetOnce::new(), closing: Arc::clone(&self.closing) };
        let taken = Arc::new(taken);
        let app = TowerToHyperService::new(self.app.clone());
        let service = {
            let taken = Arc::clone(&taken);
            service_fn(move |request: Request<Incoming>| {
                let may_ask = taken.request(request.version());
                let (answer, taken) = (app.call(request), Arc::clone(&taken));
                async move {
                    let mut response = answer.await?;
                    if may_ask && taken.closing.load(Relaxed) {
                        let close = HeaderValue::from_static("close");
                        response.headers_mut().insert(header::CONNECTION, close);
                    }
                    Ok::<_, Infallible>(response)
                }
            })
        };
        let stream = Stream::new(stream, self.patience);
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let mut draining = self.draining.subscribe();
        let open = Open::new(&self.counts);
        let served = async move {
            let mut connection = pin!(connection);
            let stop = async {
                drop(draining.wait_for(|draining| *draining).await);
                let _passed = time::timeout(FIRST_REQUEST, taken.asked.wait()).await;
            };
            let result = tokio::select! {
                // Cancel-safe: it is gone on with below.
                result = &mut connection => result,
                () = stop => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                tracing::debug!(error, "a connection ended");
            }
            drop((permit, open));
        };
        // Boxed: tokio-console warns of tasks over a kilobyte.
        task::spawn("connection", Again::new(served));
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

impl Taken {
    /// A request came, of this version; whether its answer may ask to close the connection.
    fn request(&self, version: Version) -> bool {
        if !self.asked.initialized() {
            // Streams of one connection may be the first at once.
            let _set = self.asked.set(());
        }
        version <= Version::HTTP_11
    }
}
