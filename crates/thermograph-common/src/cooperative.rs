//! Connections that yield to other tasks.
//!
//! Tokio counts calls and not bytes: a socket whose other side is fast takes all of a large body in one
//! poll. Writing 8 MiB takes some milliseconds, for which no other task of the worker is polled.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read or written before others have their turn: some 0.2 ms.
const AT_ONCE: usize = 512 << 10;

/// A connection that yields to other tasks after each 512 KiB that it has read or written without
/// waiting.
pub struct Cooperative<S> {
    inner: S,
    read: Turn,
    written: Turn,
}

/// Bytes since the task has yielded or waited.
#[derive(Default)]
struct Turn(usize);

impl<S> Cooperative<S> {
    /// Wraps a connection, with nothing read or written yet.
    pub fn new(inner: S) -> Self {
        Self { inner, read: Turn::default(), written: Turn::default() }
    }
}

impl Turn {
    /// Reads or writes, which `transfer` does and counts. At the end of the turn, it is pending once
    /// instead, and wakes the task.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        transfer: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.0 >= AT_ONCE {
            self.0 = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let transferred = transfer(context);
        match &transferred {
            Poll::Ready(Ok(bytes)) => self.0 += bytes,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.0 = 0,
        }
        transferred
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cooperative<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, read, .. } = self.get_mut();
        let before = buffer.filled().len();
        let transfer = |context: &mut Context<'_>| {
            ready!(Pin::new(inner).poll_read(context, buffer))?;
            Poll::Ready(Ok(buffer.filled().len() - before))
        };
        read.poll(context, transfer).map_ok(|_| ())
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cooperative<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, written, .. } = self.get_mut();
        written.poll(context, |context| Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, written, .. } = self.get_mut();
        written.poll(context, |context| Pin::new(inner).poll_write_vectored(context, slices))
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

impl<S: Connection> Connection for Cooperative<S> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Number of polls until a future is ready that waits for nothing.
    fn polls(mut future: Pin<&mut dyn Future<Output = io::Result<()>>>) -> usize {
        let mut polls = 1;
        while future.as_mut().now_or_never().is_none() {
            polls += 1;
        }
        polls
    }

    #[tokio::test]
    async fn large_bodies_are_sent_and_received_in_turn_with_others() {
        const PIECE: usize = AT_ONCE / 4;
        let (near, far) = tokio::io::duplex(16 * AT_ONCE);
        let (mut near, mut far) = (Cooperative::new(near), Cooperative::new(far));
        let piece = vec![b'x'; PIECE];
        let mut writing = Box::pin(async {
            for _ in 0..32 {
                near.write_all(&piece).await?;
            }
            Ok(())
        });
        assert_eq!(polls(writing.as_mut()), 8);
        let mut read = 0;
        let mut reading = Box::pin(async {
            let mut buffer = vec![0; PIECE];
            for _ in 0..32 {
                read += far.read_exact(&mut buffer).await?;
            }
            Ok(())
        });
        assert_eq!(polls(reading.as_mut()), 8);
        drop(reading);
        assert_eq!(read, 8 * AT_ONCE);
    }

    #[tokio::test]
    async fn connection_that_waits_has_a_turn_of_its_own_afterwards() {
        let (near, mut far) = tokio::io::duplex(AT_ONCE - 1);
        let mut near = Cooperative::new(near);
        let body = vec![b'x'; AT_ONCE];
        let mut writing = Box::pin(async { near.write_all(&body).await });
        // The pipe takes all but the last byte.
        assert!((&mut writing).now_or_never().is_none());
        let mut read = vec![0; AT_ONCE - 1];
        far.read_exact(&mut read).await.expect("all but one");
        assert_eq!(polls(writing.as_mut()), 1);
    }

    #[tokio::test]
    async fn yielding_wakes_the_task() {
        let (near, mut far) = tokio::io::duplex(4 * AT_ONCE);
        let mut near = Cooperative::new(near);
        near.write_all(&vec![b'x'; 4 * AT_ONCE]).await.expect("there is room");
        near.shutdown().await.expect("shut down");
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.expect("all of it");
        assert_eq!(read.len(), 4 * AT_ONCE);
    }
}
