//! A client's connection: its client has to take what it is sent, may close its sending side, and hears
//! the last answer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use thermograph_common::Cooperative;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    half_close::{HalfClose, Probe},
    lingering::Lingering,
    patience::Patience,
};

/// A connection that fails where its client takes nothing for too long, and that reads on for a
/// while once it is shut down.
pub(super) struct Stream<S> {
    inner: Cooperative<S>,
    patience: Patience,
    half_close: Arc<HalfClose>,
    /// Time since which there is nothing to read.
    read_dry: Option<Instant>,
    /// Probe of a client that has closed its sending side.
    probe: Option<Probe>,
    /// Bytes of the answer that were sent as probes.
    sent: usize,
    /// Since it is shut down.
    lingering: Option<Lingering>,
}

impl<S> Stream<S> {
    /// `longest` is how long the client may take nothing.
    pub(super) fn new(inner: S, longest: Duration, half_close: Arc<HalfClose>) -> Self {
        Self {
            inner: Cooperative::new(inner),
            patience: Patience::new(longest),
            half_close,
            read_dry: None,
            probe: None,
            sent: 0,
            lingering: None,
        }
    }
}

impl<S: AsyncWrite + Unpin> Stream<S> {
    /// Takes the place of a read at the end of the input; ready only with an error.
    fn poll_probe(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        // An earlier answer on the same connection may not be written to its end.
        if !self.half_close.is_waited_for() || self.patience.is_waiting() {
            return Poll::Pending;
        }
        self.probe.get_or_insert_with(Probe::new).poll(context, &mut self.inner)
    }

    /// Number of bytes that were sent already of `length` bytes to be written; `None` if there are none.
    fn already_sent(&mut self, length: usize) -> Option<usize> {
        self.sent += self.probe.take().map_or(0, |probe| probe.sent());
        let sent = self.sent.min(length);
        self.sent -= sent;
        (sent > 0).then_some(sent)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        match &read {
            Poll::Pending => {
                self.read_dry.get_or_insert_with(Instant::now);
            }
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                let after = self.read_dry.map_or(Duration::ZERO, |since| since.elapsed());
                if self.half_close.is_half_closed(after) {
                    return self.poll_probe(context).map(Err);
                }
            }
            Poll::Ready(_) => self.read_dry = None,
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(sent) = self.already_sent(bytes.len()) {
            return Poll::Ready(Ok(sent));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.patience.within(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(sent) = self.already_sent(slices.iter().map(|slice| slice.len()).sum()) {
            return Poll::Ready(Ok(sent));
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.patience.within(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Below TLS there may be bytes that were written and not sent.
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.patience.within(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            let shut_down = Pin::new(&mut this.inner).poll_shutdown(context);
            ready!(this.patience.within(context, shut_down))?;
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
    use crate::server::lingering::{LINGER, QUIET};

    const LONGEST: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_is_not() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Stream::new(near, LONGEST, Arc::default());
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
        (Stream::new(stream, LONGEST, Arc::default()), client)
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
        Stream::new(near, LONGEST, Arc::default()).shutdown().await.expect("shut down");
        assert_eq!(before.elapsed(), QUIET);

        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Stream::new(near, LONGEST, Arc::default());
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
