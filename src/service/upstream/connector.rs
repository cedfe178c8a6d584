//! Connections to an upstream: bounded, without Nagle's algorithm, counted.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use metrics::Gauge;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tower::ServiceExt as _;
use tower_service::Service;

use super::{UpstreamConfig, meters::PoolMeters};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections, as many at a time as may be. The pool clones it for every request.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    tcp: HttpConnector,
    places: Arc<Semaphore>,
    timeout: Duration,
    meters: PoolMeters,
}

/// A connection, which gives its place back when it is closed.
pub(super) struct Tracked {
    tcp: TokioIo<TcpStream>,
    used: Used,
    _open: Open,
}

/// Whether a connection has carried a request before.
#[derive(Clone, Debug, Default)]
pub(super) struct Used(Arc<AtomicBool>);

struct Open {
    open: Gauge,
    _place: OwnedSemaphorePermit,
}

impl Connector {
    pub(super) fn new(config: &UpstreamConfig, meters: PoolMeters) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // A token is a packet of its own, and must not wait for the one before to be confirmed.
        tcp.set_nodelay(true);
        let places = Arc::new(Semaphore::new(config.max_connections));
        Self { inner: Arc::new(Inner { tcp, places, timeout: config.connect_timeout, meters }) }
    }
}

impl Used {
    /// Notes a request; whether there was one before.
    pub(super) fn again(&self) -> bool {
        self.0.swap(true, Relaxed)
    }
}

impl Service<Uri> for Connector {
    type Response = Tracked;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Tracked, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let Inner { tcp, places, timeout, meters } = &*inner;
            // The pool goes on with this in a task of its own where a used connection is free
            // first: that must have an end.
            let (place, tcp) = time::timeout(*timeout, async {
                let place = Arc::clone(places).acquire_owned().await?;
                Ok::<_, BoxError>((place, tcp.clone().oneshot(uri).await?))
            })
            .await??;
            meters.opened.increment(1);
            // Not set: who has its name after a change of the configuration counts with it.
            meters.open.increment(1.0);
            let open = Open { open: meters.open.clone(), _place: place };
            Ok(Tracked { tcp, used: Used::default(), _open: open })
        })
    }
}

impl Connection for Tracked {
    fn connected(&self) -> Connected {
        self.tcp.connected().extra(self.used.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

impl Read for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl Write for Tracked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
    }
}
