//! A listener whose connections know when their bytes arrived.

use std::{io, net::SocketAddr, time::Duration};

use axum::serve::Listener;
use tokio::{
    net::{TcpListener, TcpStream},
    time,
};

use super::TimedStream;

/// A TCP listener whose connections know when their bytes arrived; made by
/// [`Thermograph::listener`](crate::Thermograph::listener).
#[derive(Debug)]
pub struct TimedListener {
    inner: TcpListener,
    /// True if the kernel stamps what arrives.
    is_stamped: bool,
}

impl TimedListener {
    /// Wraps `inner`. Connections that it accepts from now on are stamped.
    pub(crate) fn new(inner: TcpListener) -> Self {
        let stamped = stamp(&inner);
        if let Err(error) = &stamped {
            tracing::warn!(%error, "latency is not measured from arrival");
        }
        Self { inner, is_stamped: stamped.is_ok() }
    }

    /// Wraps `inner`, whose connections do not know when their bytes arrive.
    pub fn unstamped(inner: TcpListener) -> Self {
        Self { inner, is_stamped: false }
    }

    /// Accepts a connection, for an accept loop of your own.
    ///
    /// Cancel-safe, as [`TcpListener::accept`].
    pub async fn accept(&self) -> io::Result<(TimedStream, SocketAddr)> {
        let (stream, address) = self.inner.accept().await?;
        Ok((self.timed(stream), address))
    }

    /// The listener itself.
    pub fn get_ref(&self) -> &TcpListener {
        &self.inner
    }

    /// Returns whether latency is measured from arrival: the kernel stamps what it receives.
    pub fn is_stamped(&self) -> bool {
        self.is_stamped
    }

    fn timed(&self, stream: TcpStream) -> TimedStream {
        if self.is_stamped {
            // It has inherited the option, unless it was connected before the listener had it.
            TimedStream::new(stream)
        } else {
            TimedStream::unstamped(stream)
        }
    }
}

impl Listener for TimedListener {
    type Io = TimedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TimedStream, SocketAddr) {
        loop {
            match self.inner.accept().await {
                Ok((stream, address)) => return (self.timed(stream), address),
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors as a rule. axum's own listener waits as long.
                    tracing::error!(%error, "accept failed");
                    time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// Returns whether an error is of the one connection that was to be accepted.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(sampler)]
fn stamp(listener: &TcpListener) -> io::Result<()> {
    super::note::prepare();
    thermograph_sampler::stamp(listener)
}

#[cfg(not(sampler))]
fn stamp(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, sampler))]
mod tests {
    use http::Version;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::arrival::take;

    #[tokio::test]
    async fn connection_made_before_the_listener_was_wrapped_is_timed() {
        let inner = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut client =
            TcpStream::connect(inner.local_addr().expect("bound")).await.expect("there");
        let listener = TimedListener::new(inner);
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 16];
            // The kernel begins to stamp a moment after it is asked to.
            while stream.read(&mut bytes).await.expect("read") > 0 {
                if take(Version::HTTP_11).is_some() {
                    return true;
                }
            }
            false
        });
        while !reading.is_finished() {
            client.write_all(b"hello").await.expect("sent");
            time::sleep(Duration::from_millis(2)).await;
        }
        assert!(reading.await.expect("no panic"));
    }
}
