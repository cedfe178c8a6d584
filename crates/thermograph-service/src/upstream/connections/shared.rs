//! A connection of HTTP/2, which all requests share: a task of its own drives it.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http2::{Builder, SendRequest},
    },
};
use hyper_util::rt::TokioTimer;
use thermograph_common::{task, task::Streams, units::millis};

use super::{Content, Open, Stream};
use crate::clock;

/// A connection for many requests at a time.
pub(super) struct Shared {
    sender: SendRequest<Content>,
    /// When it last took a request, in milliseconds of the clock.
    asked_at: AtomicU64,
    is_used: AtomicBool,
}

impl Shared {
    pub(super) async fn new(stream: Stream, open: Open) -> hyper::Result<Self> {
        let builder = Builder::new(Streams).timer(TokioTimer::new()).handshake(stream);
        let (sender, connection) = builder.await?;
        // It ends when nobody can ask any more and all are answered.
        drop(task::spawn("http2 connection", async move {
            let _open = open;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an upstream broke");
            }
        }));
        let (asked_at, is_used) = (AtomicU64::new(clock::now()), AtomicBool::new(false));
        Ok(Self { sender, asked_at, is_used })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn ask(
        &self,
        request: Box<Request<Content>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Content>>> {
        self.asked_at.store(clock::now(), Relaxed);
        self.sender.clone().try_send_request(*request).await
    }

    /// Notes a request; whether there was one before.
    pub(super) fn is_used_again(&self) -> bool {
        self.is_used.swap(true, Relaxed)
    }

    /// Whether it takes requests: not unused for too long, and not closed by the other side.
    pub(super) fn is_good(&self, idle_timeout: Duration) -> bool {
        let asked_at = self.asked_at.load(Relaxed);
        !self.sender.is_closed() && clock::now().saturating_sub(asked_at) < millis(idle_timeout)
    }
}
