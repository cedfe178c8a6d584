//! An upstream that sends what it is told to.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
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
    had: Arc<Mutex<Vec<Had>>>,
}

/// A request that an upstream has had.
#[derive(Clone, Debug)]
pub(crate) struct Had {
    pub(crate) head: http::request::Parts,
    pub(crate) body: Bytes,
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

/// Requests that are noted.
const NOTED: usize = 1000;

impl Had {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
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
        Self::answering_later(move |head, body| std::future::ready(answer(&head, body)))
    }

    /// The same with a function that takes its time.
    pub(crate) fn answering_later<F: Future<Output = Response> + Send>(
        answer: impl Fn(http::request::Parts, Bytes) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").expect("a port"), answer)
    }

    /// The same with a socket that listens already.
    pub(crate) fn at<F: Future<Output = Response> + Send>(
        listener: TcpListener,
        answer: impl Fn(http::request::Parts, Bytes) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        listener.set_nonblocking(true).expect("set");
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        let log = Arc::<Mutex<Vec<_>>>::default();
        let noted = Arc::clone(&log);
        let app = Router::new().fallback(move |request: Request| {
            // Health checks ask for what there is.
            counted.fetch_add(u64::from(request.method() == http::Method::POST), Relaxed);
            let noted = Arc::clone(&noted);
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
                note(&noted, &head, &body);
                answer(head, body).await
            }
        });
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                axum::serve(listener, app).await
            })
        });
        Self { address, requests, had: log }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// The first requests to a path, the query left out.
    pub(crate) fn had(&self, path: &str) -> Vec<Had> {
        let had = self.had.lock().expect("no panic");
        had.iter().filter(|had| had.head.uri.path() == path).cloned().collect()
    }
}

fn note(log: &Mutex<Vec<Had>>, head: &http::request::Parts, body: &Bytes) {
    let mut log = log.lock().expect("no panic");
    if log.len() < NOTED {
        log.push(Had { head: head.clone(), body: body.clone() });
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
