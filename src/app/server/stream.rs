//! A client's connection: its client has to take what it is sent, and hears the last answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{lingering::Lingering, patience::Patience};

/// A connection that fails where its client takes nothing for too long, and that reads on for a
/// while once it is shut down.
pub(super) struct Stream<S> {
    inner: S,
    patience: Patience,
    /// Since it is shut down.
    lingering: Option<Lingering>,
}

impl<S> Stream<S> {
    /// `longest` is how long the client may take nothing.
    pub(super) fn new(inner: S, longest: Duration) -> Self {
        Self { inner, patience: Patience::new(longest), lingering: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.patience.within(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.patience.within(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
        }
        let lingering = this.lingering.get_or_insert_with(Lingering::begin);
        lingering.poll(context, &mut this.inner).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        time::{self, Instant},
    };

    use super::*;
    use crate::app::server::lingering::{LINGER, QUIET};

    const LONGEST: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_is_not() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Stream::new(near, LONGEST);
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

    async fn connected() -> (Stream<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        (Stream::new(stream, LONGEST), client)
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
        Stream::new(near, LONGEST).shutdown().await.expect("shut down");
        assert_eq!(before.elapsed(), QUIET);

        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Stream::new(near, LONGEST);
        let before = Instant::now();
        let sending = async {
            loop {
                time::sleep(QUIET / 2).await;
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
