//! An upstream that sends what it is told to.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Builder;

/// A running upstream, to the end of the process.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicU64>,
}

/// Response of such an upstream.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    /// Sends nothing after that, and leaves the connection open.
    pub(crate) then_silent: bool,
}

impl Default for Sent {
    fn default() -> Self {
        let (content_type, body) = ("application/json", String::new());
        Self { status: 200, content_type, body, then_silent: false }
    }
}

impl Scripted {
    /// Answers every request with this.
    pub(crate) fn start(sent: Sent) -> Self {
        Self::answering(move |_, _| sent.respond())
    }

    /// Answers every request, whose body is read, as a function has it.
    pub(crate) fn answering(
        answer: impl Fn(&http::request::Parts, Bytes) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listen = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(listen).expect("a port");
        let address = listener.local_addr().expect("bound");
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        let app = Router::new().fallback(move |request: Request| {
            // Health checks ask for what there is.
            counted.fetch_add(u64::from(request.method() == http::Method::POST), Relaxed);
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
                answer(&head, body)
            }
        });
        thread::spawn(move || runtime.block_on(async { axum::serve(listener, app).await }));
        Self { address, requests }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}

impl Sent {
    pub(crate) fn respond(&self) -> Response {
        let body = Bytes::from(self.body.clone());
        let body = if self.then_silent {
            let sent = stream::iter([Ok::<_, std::io::Error>(body)]);
            Body::from_stream(sent.chain(stream::pending()))
        } else {
            Body::from(body)
        };
        let response = Response::builder().status(self.status);
        response.header("content-type", self.content_type).body(body).expect("a response")
    }
}
