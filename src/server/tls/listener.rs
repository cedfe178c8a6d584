//! A listener with TLS for axum, which takes connections once their handshakes are over.

use std::{net::SocketAddr, sync::Arc};

use axum::serve::Listener;
use thermograph::TimedListener;
use thermograph_common::task;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tokio_rustls::server::TlsStream;

use super::{Socket, Tls};

/// Most handshakes at a time; further clients wait in the kernel's queue.
const HANDSHAKES: usize = 64;

/// A listener with TLS.
pub(crate) struct TlsListener {
    address: std::io::Result<SocketAddr>,
    accepted: mpsc::Receiver<(Box<TlsStream<Socket>>, SocketAddr)>,
}

impl TlsListener {
    /// Accepts in a task of its own, so that a slow client does not delay further ones.
    pub(crate) fn new(listener: TcpListener, tls: Tls) -> Self {
        let address = listener.local_addr();
        let (sender, accepted) = mpsc::channel(HANDSHAKES);
        task::spawn("TLS listener", accept(TimedListener::unstamped(listener), tls, sender));
        Self { address, accepted }
    }
}

async fn accept(
    mut listener: TimedListener,
    tls: Tls,
    accepted: mpsc::Sender<(Box<TlsStream<Socket>>, SocketAddr)>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    while let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await {
        let (stream, address) = Listener::accept(&mut listener).await;
        let (tls, accepted) = (tls.clone(), accepted.clone());
        task::spawn("TLS handshake", async move {
            if let Some(stream) = tls.accept(Socket::Tcp(stream)).await {
                // Not taken any more once the server has stopped.
                let _ = accepted.send((stream, address)).await;
            }
            drop(permit);
        });
    }
}

impl Listener for TlsListener {
    type Io = Box<TlsStream<Socket>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The task that accepts never ends before the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(error.kind().into()),
        }
    }
}
