//! A client's connection: it has to read what it is sent, and hears the last answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

/// Bytes that are read and forgotten after the last answer. A client that is still sending sees
/// the answer only then: bytes that nobody has read would reset the connection.
const FORGOTTEN: usize = 64 << 20;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(5);
/// After this time without a byte, nobody is sending.
const QUIET: Duration = Duration::from_millis(250);
/// Bytes that are forgotten at once.
const AT_ONCE: usize = 16 << 10;

/// A connection that fails where its client reads nothing for too long. While it waits, nobody asks
/// for more of the answer, and so nobody else would notice.
pub(super) struct Stream {
    tcp: TcpStream,
    /// Longest time that the client may read nothing.
    longest: Duration,
    /// Made at the first wait, and set anew for each.
    timer: Option<Pin<Box<Sleep>>>,
    waits: bool,
    /// What came after the end of the last answer; none before that.
    after: Option<After>,
}

#[derive(Clone, Copy)]
struct After {
    /// When nothing more is read.
    end: Instant,
    bytes: usize,
}

impl Stream {
    pub(super) fn new(tcp: TcpStream, longest: Duration) -> Self {
        Self { tcp, longest, timer: None, waits: false, after: None }
    }

    /// What came of a write, if the client reads.
    fn in_time<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        if !self.waits {
            self.waits = true;
            self.set(Instant::now() + self.longest);
        }
        ready!(self.poll_timer(context));
        let why = "the client reads nothing";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    /// Reads and forgets what the client is still sending.
    fn forget(&mut self, context: &mut Context<'_>, mut after: After) -> Poll<()> {
        let mut room = [0; AT_ONCE];
        while after.bytes < FORGOTTEN {
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.tcp).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    after.bytes += buffer.filled().len();
                    self.set(after.end.min(Instant::now() + QUIET));
                }
                // It has closed the connection.
                Poll::Ready(_) => break,
                Poll::Pending => {
                    self.after = Some(after);
                    return self.poll_timer(context);
                }
            }
        }
        Poll::Ready(())
    }

    fn set(&mut self, end: Instant) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(end),
            None => self.timer = Some(Box::pin(sleep_until(end))),
        }
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.in_time(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.in_time(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let after = if let Some(after) = this.after {
            after
        } else {
            ready!(Pin::new(&mut this.tcp).poll_shutdown(context))?;
            let now = Instant::now();
            this.set(now + QUIET);
            *this.after.insert(After { end: now + LINGER, bytes: 0 })
        };
        this.forget(context, after).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn connected(longest: Duration) -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("connected");
        let (tcp, _) = listener.accept().await.expect("accepted");
        (Stream::new(tcp, longest), client)
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up_and_one_that_reads_is_not() {
        let (mut stream, mut client) = connected(Duration::from_millis(50)).await;
        let error = stream.write_all(&vec![0; 64 << 20]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (mut room, mut read) = (vec![0; 64 << 10], 0);
        let (mut stream, mut reader) = connected(Duration::from_hours(1)).await;
        let sent = 8 << 20;
        let writing = async { stream.write_all(&vec![0; sent]).await };
        let reading = async {
            while read < sent {
                read += reader.read(&mut room).await.expect("read");
            }
        };
        let (written, ()) = tokio::join!(writing, reading);
        written.expect("all of it");
        drop(client.shutdown().await);
    }

    #[tokio::test]
    async fn who_is_still_sending_hears_the_last_answer() {
        let (mut stream, mut client) = connected(Duration::from_hours(1)).await;
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
    async fn who_sends_nothing_is_waited_for_a_moment() {
        let (mut stream, client) = connected(Duration::from_hours(1)).await;
        let before = Instant::now();
        stream.shutdown().await.expect("shut down");
        // The timer's wheel turns by milliseconds.
        assert!((QUIET..QUIET * 2).contains(&before.elapsed()), "{:?}", before.elapsed());
        drop(client);
    }
}
