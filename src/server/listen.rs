//! Listeners of the API: a port of TCP, or a socket in the file system.

mod file;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

pub(crate) use self::file::SocketFile;
use super::{last, tls::Tls};
use thermograph::{TimedListener, TimedStream};

/// Accepts connections.
pub(crate) struct Listener {
    kind: Kind,
    /// `None` if clients speak plain HTTP.
    pub(super) tls: Option<Tls>,
}

enum Kind {
    Tcp(TimedListener),
    Unix(SocketFile),
}

/// A connection.
pub(crate) enum Socket {
    Tcp(TimedStream),
    Unix(UnixStream),
}

impl Listener {
    /// A port of TCP.
    pub(crate) fn tcp(listener: TimedListener) -> Self {
        Self { kind: Kind::Tcp(listener), tls: None }
    }

    /// A socket in the file system.
    pub(crate) fn unix(socket: SocketFile) -> Self {
        Self { kind: Kind::Unix(socket), tls: None }
    }

    /// Adds TLS, if there is to be any.
    pub(crate) fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match &self.kind {
            Kind::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
            Kind::Unix(socket) => socket.accept().await.map(Socket::Unix),
        }
    }

    /// Keeps clients from beginning to connect; those that have begun may come to the end of it.
    pub(super) fn refuse_new(&self) {
        match &self.kind {
            Kind::Tcp(listener) => last::refuse_new(listener.get_ref()),
            Kind::Unix(socket) => socket.remove(),
        }
    }
}

impl Socket {
    /// Has small answers sent at once: they would wait for a delayed acknowledgement, 40 ms.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.get_ref().set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// The first byte that the client sends, which stays to be read; `None` if it sends none.
    pub(super) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.get_ref().peek(&mut byte).await?,
            Self::Unix(stream) => file::peek(stream, &mut byte).await?,
        };
        Ok((read > 0).then_some(byte[0]))
    }
}

/// Calls a method of whichever stream it is.
macro_rules! delegate {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        delegate!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }
}
