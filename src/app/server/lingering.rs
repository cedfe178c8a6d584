//! A connection whose client hears the last answer, also where it is still sending: bytes that
//! nobody has read when a connection is closed would reset it, and hide the answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Bytes that are read and forgotten after the last answer.
const FORGOTTEN: usize = 64 << 20;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(5);
/// After this time without a byte, nobody is sending.
const QUIET: Duration = Duration::from_millis(250);
/// Bytes that are forgotten at once.
const AT_ONCE: usize = 16 << 10;

/// A stream that reads on, and forgets, once it is shut down.
pub(super) struct Lingering<S> {
    stream: S,
    /// Since it is shut down.
    after: Option<After>,
}

struct After {
    bytes: usize,
    /// When nothing more is read in any case.
    end: Instant,
    /// When nobody is sending.
    quiet: Pin<Box<Sleep>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, after: None }
    }
}

impl After {
    fn begin() -> Self {
        let now = Instant::now();
        Self { bytes: 0, end: now + LINGER, quiet: Box::pin(sleep_until(now + QUIET)) }
    }

    /// Reads until the client closes the connection, or has sent nothing for a while.
    fn poll(&mut self, context: &mut Context<'_>, mut stream: impl AsyncRead + Unpin) -> Poll<()> {
        let mut room = [0; AT_ONCE];
        while self.bytes < FORGOTTEN {
            let mut buffer = ReadBuf::new(&mut room);
            if Pin::new(&mut stream).poll_read(context, &mut buffer).is_pending() {
                return self.quiet.as_mut().poll(context);
            }
            let read = buffer.filled().len();
            if read == 0 {
                // It is closed, or broken.
                break;
            }
            self.bytes += read;
            self.quiet.as_mut().reset(self.end.min(Instant::now() + QUIET));
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.after.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let after = this.after.get_or_insert_with(After::begin);
        after.poll(context, &mut this.stream).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn connected() -> (Lingering<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        (Lingering::new(stream), client)
    }

    #[tokio::test]
    async fn who_is_still_sending_hears_the_last_answer() {
        let (mut stream, mut client) = connected().await;
        let sending = async {
            client.write_all(&vec![0; 8 << 20]).await.expect("all of it");
            client.shutdown().await.expect("shut down");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("no reset");
            answer
        };
        let answering = async {
            stream.write_all(b"no").await.expect("sent");
            stream.shutdown().await.expect("shut down");
            drop(stream);
        };
        let (answer, ()) = tokio::join!(sending, answering);
        assert_eq!(answer, "no");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_nothing_is_waited_for_a_moment_and_who_never_ends_not_for_ever() {
        let (near, _far) = tokio::io::duplex(4);
        let before = Instant::now();
        Lingering::new(near).shutdown().await.expect("shut down");
        assert_eq!(before.elapsed(), QUIET);

        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Lingering::new(near);
        let before = Instant::now();
        let sending = async {
            loop {
                tokio::time::sleep(QUIET / 2).await;
                far.write_all(b"more").await.expect("sent");
            }
        };
        tokio::select! {
            ended = near.shutdown() => ended.expect("shut down"),
            () = sending => {}
        }
        assert_eq!(before.elapsed(), LINGER);
    }
}
