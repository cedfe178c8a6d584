//! A connection whose client must take what it is sent: who takes nothing for too long would hold
//! the place of its request for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{self, Instant, Sleep},
};

/// A stream on which a write waits so long at most.
pub(super) struct Patient<S> {
    stream: S,
    longest: Duration,
    /// When patience ends; none as long as nobody was ever waited for.
    end: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, longest: Duration) -> Self {
        Self { stream, longest, end: None, is_waiting: false }
    }

    /// What a write came to: an error, where it has waited too long.
    fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        let until = Instant::now() + self.longest;
        let end = self.end.get_or_insert_with(|| Box::pin(time::sleep_until(until)));
        if !self.is_waiting {
            self.is_waiting = true;
            end.as_mut().reset(until);
        }
        end.as_mut()
            .poll(context)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.within(context, written)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_is_not() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Patient::new(near, LONGEST);
        near.write_all(b"1234").await.expect("there is room");
        for _ in 0..3 {
            let took = async {
                time::sleep(LONGEST.mul_f64(0.9)).await;
                far.read_u8().await
            };
            let (wrote, took) = tokio::join!(near.write_all(b"5"), took);
            wrote.expect("somebody took something in time");
            took.expect("a byte");
        }
        let before = Instant::now();
        let error = near.write_all(b"6").await.expect_err("nobody takes anything");
        assert_eq!((error.kind(), before.elapsed()), (io::ErrorKind::TimedOut, LONGEST));
    }
}
