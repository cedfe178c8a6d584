//! A connection that knows when its newest bytes arrived.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A TCP connection that notes when its newest bytes arrived; accepted by a
/// [`TimedListener`](super::TimedListener).
///
/// It reads with `recvmsg(2)`, which takes a quarter of a microsecond longer than `recv(2)`, and
/// makes no further system call.
#[derive(Debug)]
pub struct TimedStream {
    inner: TcpStream,
    #[cfg(sampler)]
    newest: Option<super::Arrived>,
    #[cfg(sampler)]
    is_stamped: bool,
}

impl TimedStream {
    /// Wraps a connection that something else has accepted. What it receives from now on is stamped;
    /// a [`TimedListener`](super::TimedListener) has also that stamped which comes before.
    pub fn new(inner: TcpStream) -> Self {
        Self {
            #[cfg(sampler)]
            is_stamped: thermograph_sampler::stamp(&inner).is_ok(),
            #[cfg(sampler)]
            newest: None,
            inner,
        }
    }

    /// Wraps a connection, and passes it through.
    pub(super) fn unstamped(inner: TcpStream) -> Self {
        Self {
            #[cfg(sampler)]
            is_stamped: false,
            #[cfg(sampler)]
            newest: None,
            inner,
        }
    }

    /// The connection itself, to set its options.
    pub fn get_ref(&self) -> &TcpStream {
        &self.inner
    }

    /// The connection itself; what it reads from now on is not timed.
    pub fn into_inner(self) -> TcpStream {
        self.inner
    }
}

#[cfg(sampler)]
impl TimedStream {
    fn poll_stamped(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        use std::task::ready;
        use tokio::io::Interest;

        loop {
            ready!(self.inner.poll_read_ready(context))?;
            let room = buffer.remaining();
            let mut received = None;
            let read = self.inner.try_io(Interest::READABLE, || {
                let (read, stamp) = thermograph_sampler::receive(&self.inner, buffer)?;
                received = Some((read, stamp));
                // As Tokio's own read: with fewer bytes than there was room for, the socket is
                // drained. Told so, Tokio does not try it again before epoll says that it is
                // readable, which saves a system call a request (tokio#5866).
                if 0 < read && read < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            if let Some((read, stamp)) = received {
                if read > 0 {
                    self.newest = stamp.and_then(super::Arrived::at);
                }
                return Poll::Ready(Ok(()));
            }
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }
}

impl AsyncRead for TimedStream {
    #[cfg(sampler)]
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_stamped || buffer.remaining() == 0 {
            return Pin::new(&mut this.inner).poll_read(context, buffer);
        }
        let read = this.poll_stamped(context, buffer);
        // Also where there was nothing to read: the layer may be called now that an earlier layer
        // has waited for something.
        super::note::leave(this.newest);
        read
    }

    #[cfg(not(sampler))]
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
