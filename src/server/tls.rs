//! TLS on a listener: handshakes with a bound on their time, and certificates that are replaced while
//! it listens.
//!
//! HTTP/2 is agreed on by ALPN. A client that speaks plain HTTP is answered 400 in plain HTTP, since
//! the alert that rustls would send is noise to it.

mod certificates;
mod listener;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};
use rustls::ServerConfig;
use tokio::{io::AsyncWriteExt as _, time};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::certificates::Material;
pub(crate) use self::{certificates::TlsError, listener::TlsListener};
use super::{listen::Socket, stream::Stream};
use crate::config::TlsFiles;

/// Sent to a client that speaks plain HTTP.
const PLAINTEXT: &str = concat!(
    "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n",
    r#"{"error":{"message":"plain HTTP on a port of TLS: use https://","#,
    r#""type":"invalid_request_error","param":null,"code":null}}"#
);

/// TLS of one listener; cheap to clone, all clones are one.
#[derive(Clone)]
pub(crate) struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    files: TlsFiles,
    /// Longest time of a handshake.
    timeout: Duration,
    current: ArcSwap<ServerConfig>,
    /// Contents of the files that `current` is made of. Its lock is held while they are read again.
    material: Mutex<Material>,
    meters: Meters,
}

impl Tls {
    /// Reads certificates and key, which blocks. Handshakes may take as long as `timeout`.
    pub(crate) fn new(files: TlsFiles, timeout: Duration) -> Result<Self, TlsError> {
        let material = Material::read(&files)?;
        let current = ArcSwap::from_pointee(material.server_config(&files)?);
        let meters = Meters::new(files.section());
        meters.expires.set(material.expires() as f64);
        material.warn_if_expired(&files);
        let material = Mutex::new(material);
        Ok(Self { inner: Arc::new(Inner { files, timeout, current, material, meters }) })
    }

    /// Files of certificates and keys.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.inner.files.iter().map(PathBuf::as_path)
    }

    /// Reads the files again, which blocks. Connections that are made from now on have what is new;
    /// if a file is bad, what there was stays.
    pub(crate) fn reload(&self) {
        let Inner { files, current, material, meters, .. } = &*self.inner;
        let mut material = material.lock().unwrap_or_else(PoisonError::into_inner);
        let read = Material::read(files).and_then(|new| Ok((new.server_config(files)?, new)));
        match read {
            Ok((_, new)) if new == *material => {}
            Ok((config, new)) => {
                current.store(Arc::new(config));
                meters.applied.increment(1);
                meters.expires.set(new.expires() as f64);
                let listener = files.section();
                tracing::info!(listener, expires = new.expires(), "certificates were replaced");
                new.warn_if_expired(files);
                *material = new;
            }
            Err(error) => {
                meters.refused.increment(1);
                let error = error.to_string();
                tracing::error!(error, "certificates are as before: the new ones were refused");
            }
        }
    }

    /// Comes to an agreement with a client; `None` if that fails, which is counted.
    pub(super) async fn accept(&self, socket: Socket) -> Option<Box<TlsStream<Socket>>> {
        let Inner { timeout, meters, .. } = &*self.inner;
        let accepted = time::timeout(*timeout, Box::pin(self.handshake(socket))).await;
        let (counter, stream) = match accepted {
            Ok(Ok(Handshake::Completed(stream))) => (&meters.completed, Some(stream)),
            Ok(Ok(Handshake::Plaintext)) => (&meters.plaintext, None),
            Ok(Ok(Handshake::Closed)) => (&meters.closed, None),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                (&meters.failed, None)
            }
            Err(_) => (&meters.timeout, None),
        };
        counter.increment(1);
        stream
    }

    /// Counts a handshake that is given up, since the server stops or is full.
    pub(super) fn given_up(&self) {
        self.inner.meters.timeout.increment(1);
    }

    async fn handshake(&self, socket: Socket) -> io::Result<Handshake> {
        match socket.first_byte().await? {
            None => return Ok(Handshake::Closed),
            // A method. The first byte of TLS is 22.
            Some(byte) if byte.is_ascii_alphabetic() => {
                let mut stream = Stream::new(socket, self.inner.timeout, Arc::default());
                stream.write_all(PLAINTEXT.as_bytes()).await?;
                stream.shutdown().await?;
                return Ok(Handshake::Plaintext);
            }
            Some(_) => {}
        }
        let acceptor = TlsAcceptor::from(self.inner.current.load_full());
        acceptor.accept(socket).await.map(|stream| Handshake::Completed(Box::new(stream)))
    }
}

enum Handshake {
    Completed(Box<TlsStream<Socket>>),
    /// The client speaks plain HTTP, and was told.
    Plaintext,
    /// The client has sent nothing, as balancers do that check a port.
    Closed,
}

struct Meters {
    completed: Counter,
    failed: Counter,
    timeout: Counter,
    plaintext: Counter,
    closed: Counter,
    applied: Counter,
    refused: Counter,
    expires: Gauge,
}

impl Meters {
    fn new(listener: &'static str) -> Self {
        let handshakes = "thermograph_tls_handshakes_total";
        describe_counter!(handshakes, Unit::Count, "TLS handshakes of clients, by their end.");
        let reloads = "thermograph_tls_reloads_total";
        describe_counter!(reloads, Unit::Count, "Changes of certificates, by their result.");
        let expires = "thermograph_tls_certificate_expiry_timestamp_seconds";
        describe_gauge!(
            expires,
            Unit::Seconds,
            "Time at which the first certificate of the chain expires, in seconds since 1970."
        );
        let handshake =
            |result: &'static str| counter!(handshakes, "listener" => listener, "result" => result);
        let reload =
            |result: &'static str| counter!(reloads, "listener" => listener, "result" => result);
        Self {
            completed: handshake("completed"),
            failed: handshake("failed"),
            timeout: handshake("timeout"),
            plaintext: handshake("plaintext"),
            closed: handshake("closed"),
            applied: reload("applied"),
            refused: reload("refused"),
            expires: gauge!(expires, "listener" => listener),
        }
    }
}
