//! A connection whose client hears the last answer, also where it is still sending: bytes that
//! nobody has read when a connection is closed would reset it, and hide the answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Bytes that are read and forgotten after the last answer.
pub(super) const FORGOTTEN: usize = 64 << 20;
/// How long that may take.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// After this time without a byte, nobody is sending.
pub(super) const QUIET: Duration = Duration::from_millis(250);
/// Bytes that are forgotten at once.
const AT_ONCE: usize = 16 << 10;

/// What is read, and forgotten, of a stream that is shut down.
pub(super) struct Lingering {
    bytes: usize,
    /// When nothing more is read in any case.
    end: Instant,
    /// When nobody is sending.
    quiet: Pin<Box<Sleep>>,
}

impl Lingering {
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self { bytes: 0, end: now + LINGER, quiet: Box::pin(sleep_until(now + QUIET)) }
    }

    /// Reads until the client closes the connection, or has sent nothing for a while.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut stream: impl AsyncRead + Unpin,
    ) -> Poll<()> {
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
