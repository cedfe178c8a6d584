//! A connection of HTTP/1.1, which has no task of its own: whoever has it drives it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, Connection, SendRequest},
    },
};
use tokio::time::Instant;

use super::{Content, Open, Stream};

/// A connection for one request at a time.
pub(super) struct Line {
    sender: SendRequest<Content>,
    drive: Drive,
    free_since: Instant,
    /// Whether it has carried a request.
    pub(super) is_used: bool,
    pub(super) open: Open,
}

/// What reads and writes; none once it has ended.
struct Drive(Option<Connection<Stream, Content>>);

impl Line {
    pub(super) async fn new(stream: Stream, open: Open) -> hyper::Result<Self> {
        let (sender, connection) = http1::handshake(stream).await?;
        let drive = Drive(Some(connection));
        Ok(Self { sender, drive, free_since: Instant::now(), is_used: false, open })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn ask(
        &mut self,
        request: Box<Request<Content>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Content>>> {
        self.is_used = true;
        let mut answer = pin!(self.sender.try_send_request(*request));
        poll_fn(|context| {
            self.drive.poll(context);
            answer.as_mut().poll(context)
        })
        .await
    }

    /// The next of an answer's content, which this connection brings.
    pub(super) fn poll_frame(
        &mut self,
        incoming: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.drive.poll(context);
        Pin::new(incoming).poll_frame(context)
    }

    /// Whether it can take a request: the last one is sent and answered, and it has not ended.
    pub(super) fn is_free(&self) -> bool {
        self.drive.0.is_some() && self.sender.is_ready()
    }

    /// Nobody uses it from now on.
    pub(super) fn rest(&mut self) {
        self.free_since = Instant::now();
    }

    /// Returns whether it has not been unused for too long.
    pub(super) fn is_kept(&self, idle_timeout: Duration) -> bool {
        self.free_since.elapsed() < idle_timeout
    }

    /// Returns whether it can be used again: it has not been unused for too long, and the other side has
    /// not closed it.
    pub(super) fn is_good(&mut self, idle_timeout: Duration) -> bool {
        if !self.is_kept(idle_timeout) {
            return false;
        }
        // Whoever uses it waits for it then.
        self.drive.poll(&mut nobody());
        self.is_free()
    }

    /// Closes it in good order, as far as that needs no wait: TLS says goodbye.
    pub(super) fn close(self) {
        let Self { sender, mut drive, open, .. } = self;
        drop(sender);
        drive.poll(&mut nobody());
        drop((drive, open));
    }
}

impl Drive {
    /// Reads and writes what can be read and written now.
    fn poll(&mut self, context: &mut Context<'_>) {
        let polled = self.0.as_mut().map(|connection| Pin::new(connection).poll(context));
        // How it ended is told to the request that was on its way; dropped, it tells the one that
        // was not.
        if polled.is_some_and(|polled| polled.is_ready()) {
            self.0 = None;
        }
    }
}

fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
