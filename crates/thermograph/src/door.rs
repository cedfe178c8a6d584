//! The door: the diagnostics' own thread and runtime.
//!
//! A runtime of its own, so that it answers while every worker of the app is blocked.

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
    thread::{self, JoinHandle},
};

use axum::{Router, serve::Listener};
use thiserror::Error;
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use super::{doctor, log};
use crate::instance::Instance;

/// Serves the diagnostics until dropped.
#[derive(Debug)]
#[must_use = "the door closes when this is dropped"]
pub struct Door {
    address: SocketAddr,
    console: Option<SocketAddr>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// Why the door was not opened.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address could not be bound.
    #[error("{field}: cannot listen on `{address}`")]
    Bind {
        /// Field of the configuration.
        field: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration wants TLS, which the program has to bring.
    #[error(
        "tls_cert: this program has no TLS for the diagnostics: remove it, and listen on loopback"
    )]
    NoTls,
    /// The thread or its runtime could not be made.
    #[error("cannot start the diagnostics' thread")]
    Thread(#[source] std::io::Error),
}

impl Door {
    /// Where the door is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where tokio-console attaches; none where the console is off.
    pub fn console_address(&self) -> Option<SocketAddr> {
        self.console
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A panic there was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Opens the door; `listen` makes, of the listener that is bound, the one whose connections are served.
pub(crate) fn open<L: Listener<Addr: fmt::Debug>>(
    instance: &Instance,
    listen: impl FnOnce(tokio::net::TcpListener) -> L + Send + 'static,
) -> Result<Door, ServeError> {
    let config = &instance.config;
    let stop = CancellationToken::new();
    let (listener, address) = bind("listen", config.listen)?;

    let mut threads = Vec::new();
    let mut console = None;
    // Bound before the server is taken, so that one whose port is in use can be tried again.
    let mut half = instance.console();
    if half.has_server() {
        let (listener, address) = bind("console_listen", config.console_listen)?;
        if let Some(server) = half.take_server() {
            console = Some(address);
            threads.push(server.spawn(listener, stop.clone()).map_err(ServeError::Thread)?);
        }
    }
    drop(half);
    let app = super::http::router(instance);
    threads.push(spawn(listener, listen, app, stop.clone()).map_err(ServeError::Thread)?);
    doctor::announce(instance, address, stop.clone()).map_err(ServeError::Thread)?;
    Ok(Door { address, console, stop, threads })
}

fn bind(field: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    });
    bound.map_err(|source| ServeError::Bind { field, address, source })
}

fn spawn<L: Listener<Addr: fmt::Debug>>(
    listener: TcpListener,
    listen: impl FnOnce(tokio::net::TcpListener) -> L + Send + 'static,
    app: Router,
    stop: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("thermograph-blocking")
        .on_thread_start(log::detach)
        .build()?;
    thread::Builder::new().name("thermograph".to_owned()).spawn(move || {
        log::detach();
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => tokio::select! {
                    // Cancel-safe: at the stop, captures that run are dropped on purpose.
                    _ = axum::serve(listen(listener), app) => {}
                    () = stop.cancelled() => {}
                },
                Err(error) => log::submit(move || {
                    tracing::error!(%error, "failed to start the diagnostics server");
                }),
            }
        });
        // A capture's naming may still run on a blocking thread: nobody waits for it any more.
        runtime.shutdown_background();
    })
}
