//! Connections to an upstream: bounded, kept for the next request, counted.
//!
//! A connection of HTTP/1.1 has no task of its own: the request that has it drives it. So an answer
//! wakes one task and not three, what reading it costs is told of the handler that reads, and a
//! request that is dropped has closed its connection. One of HTTP/2 is shared, and has a task.
//!
//! Free connections are bits of a word, without a lock. HTTP/2 has one where it connects, so that
//! many that come at once open one connection.

mod line;
mod numbers;
mod shared;

use std::{
    error::Error as StdError,
    mem,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use crossbeam_utils::atomic::AtomicCell;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connection as _, HttpConnector},
    rt::TokioIo,
};
use metrics::Gauge;
use rustls::ClientConfig;
use thermograph_common::Cooperative;
use tokio::{
    net::TcpStream,
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time,
};
use tower::ServiceExt as _;

use self::{line::Line, numbers::Numbers, shared::Shared};
use super::{
    content::Content,
    failure::Cause,
    meters::PoolMeters,
    proxy::{Dialer, Proxy},
};

type BoxError = Box<dyn StdError + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<Cooperative<TcpStream>>>;

/// How connections to an upstream are made and kept.
pub(super) struct Rules {
    pub(super) tls: ClientConfig,
    /// Whether it speaks HTTP/2 where there is no TLS to agree by.
    pub(super) http2: bool,
    /// Most connections, and most requests.
    pub(super) most: usize,
    /// How long one is kept that nobody uses; none is kept if that is no time at all.
    pub(super) idle_timeout: Duration,
    /// Between here and the upstream.
    pub(super) proxy: Option<Proxy>,
}

/// The connections to one upstream.
pub(super) struct Connections {
    inner: Arc<Inner>,
}

struct Inner {
    connector: HttpsConnector<Dialer>,
    /// True if a proxy reads the requests: their URIs are whole.
    is_read: bool,
    /// Password for such a proxy.
    proxy_auth: Option<HeaderValue>,
    /// Where the upstream is.
    base: Uri,
    host: HeaderValue,
    http2: bool,
    /// Whether it is known to speak HTTP/1.1, so that connections are not shared.
    is_http1: AtomicBool,
    idle_timeout: Duration,
    places: Arc<Semaphore>,
    /// Numbers that no connection has.
    numbers: Arc<Numbers>,
    kept: Kept,
    shared: ArcSwapOption<Shared>,
    /// Held while the first connection is opened, which may turn out to be for all.
    first: Mutex<()>,
    meters: PoolMeters,
}

/// Connections that nobody uses, by number.
struct Kept {
    numbers: Numbers,
    lines: Box<[AtomicCell<Option<Box<Line>>>]>,
}

/// The right to ask: one of as many as there may be connections.
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// A connection's number, which it gives back when it is closed.
struct Number {
    number: usize,
    numbers: Arc<Numbers>,
}

/// A connection that is open, and counted.
struct Open {
    number: Number,
    open: Gauge,
}

/// A connection for a request.
enum Way {
    Line(Box<Line>),
    Shared(Arc<Shared>),
}

/// The content of an answer, with the connection that it comes from. Dropped before its end, it
/// closes that, or its stream.
pub(crate) struct Received {
    incoming: Incoming,
    /// The connection that it drives; none where that has a task, or is back already.
    line: Option<Box<Line>>,
    inner: Arc<Inner>,
    _place: Place,
}

impl Connections {
    /// Connections to the host of `base`, a URL.
    pub(super) fn new(base: &Uri, rules: Rules, meters: PoolMeters) -> Option<Self> {
        let Rules { tls, http2, most, idle_timeout, proxy } = rules;
        let is_http1 = !http2 && base.scheme_str() == Some("http");
        let is_read = is_http1 && proxy.is_some();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // A token is a packet of its own, and must not wait for the one before to be confirmed.
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Dialer::new(tcp, proxy.as_ref(), is_read));
        let inner = Inner {
            connector,
            is_read,
            proxy_auth: proxy.as_ref().filter(|_| is_read).and_then(Dialer::auth),
            base: base.clone(),
            host: host(base)?,
            http2,
            is_http1: AtomicBool::new(is_http1),
            idle_timeout,
            places: Arc::new(Semaphore::new(most)),
            numbers: Arc::new(Numbers::all(most)),
            kept: Kept::new(most),
            shared: ArcSwapOption::empty(),
            first: Mutex::new(()),
            meters,
        };
        Some(Self { inner: Arc::new(inner) })
    }

    /// Waits until there may be a connection for a request.
    pub(super) async fn place(&self) -> Place {
        let places = &self.inner.places;
        // Tokio hands released permits to waiters first: a free permit means that there are none.
        let permit = match Arc::clone(places).try_acquire_owned() {
            Ok(permit) => Some(permit),
            // Never closed.
            Err(_) => Arc::clone(places).acquire_owned().await.ok(),
        };
        Place { _permit: permit }
    }

    /// Sends a request, on a connection that is free or a new one, and waits for the head of the
    /// answer.
    ///
    /// A connection may end just when it is used again. Where the request has then provably not
    /// left, another one is used.
    pub(super) async fn send(
        &self,
        place: Place,
        mut request: Box<Request<Content>>,
    ) -> Result<Response<Received>, Cause> {
        let inner = &self.inner;
        let uri = mem::take(request.uri_mut());
        loop {
            let way = inner.way().await.map_err(|error| Cause::Connect(explain(&*error)))?;
            let (was_used, result) = match way {
                Way::Line(mut line) => {
                    let was_used = line.is_used;
                    request.headers_mut().insert(header::HOST, inner.host.clone());
                    *request.uri_mut() = if inner.is_read {
                        uri.clone()
                    } else {
                        uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from)
                    };
                    if let Some(auth) = &inner.proxy_auth {
                        request.headers_mut().insert(header::PROXY_AUTHORIZATION, auth.clone());
                    }
                    let answer = line.ask(request).await;
                    (was_used, answer.map(|answer| (answer, Some(line))))
                }
                Way::Shared(shared) => {
                    let was_used = shared.is_used_again();
                    request.headers_mut().remove(header::HOST);
                    *request.uri_mut() = uri.clone();
                    (was_used, shared.ask(request).await.map(|answer| (answer, None)))
                }
            };
            match result {
                Ok((answer, line)) => {
                    if was_used {
                        inner.meters.reused.increment(1);
                    }
                    let inner = Arc::clone(inner);
                    return Ok(answer.map(|incoming| {
                        let mut received = Received { incoming, line, inner, _place: place };
                        received.keep_if_free();
                        received
                    }));
                }
                Err(mut error) => match error.take_message().filter(|_| was_used) {
                    Some(back) => request = Box::new(back),
                    None => return Err(Cause::Broken(explain(error.error()))),
                },
            }
        }
    }

    /// Closes connections that nobody uses any more, for as long as there are these.
    pub(super) fn sweep(&self) -> impl Future<Output = ()> + Send + use<> {
        sweep(Arc::downgrade(&self.inner), self.inner.idle_timeout)
    }
}

impl Inner {
    /// A connection that is free, or a new one.
    async fn way(&self) -> Result<Way, BoxError> {
        loop {
            if let Some(shared) = self.shared() {
                return Ok(Way::Shared(shared));
            }
            while let Some(line) = self.kept.take() {
                // A connection that the upstream has closed gives the request back unsent.
                if line.is_kept(self.idle_timeout) {
                    return Ok(Way::Line(line));
                }
                line.close();
            }
            let mut first = None;
            if !self.is_http1.load(Relaxed) {
                first = Some(self.first.lock().await);
                // Who has waited for that knows more now.
                if self.shared().is_some() || self.is_http1.load(Relaxed) {
                    continue;
                }
            }
            if let Some(number) = Number::take(&self.numbers) {
                // Boxed: it is by far the largest future on the way of a request, and rare.
                return Box::pin(self.open(number)).await;
            }
            drop(first);
            // There is one for whoever has a place, but for the moment in which somebody else closes
            // a connection or looks at it.
            time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The connection for all, if there is one.
    fn shared(&self) -> Option<Arc<Shared>> {
        let shared = self.shared.load_full()?;
        if shared.is_good(self.idle_timeout) {
            return Some(shared);
        }
        // Another one may be there by now.
        self.shared.compare_and_swap(&shared, None);
        None
    }

    async fn open(&self, number: Number) -> Result<Way, BoxError> {
        let stream = self.connector.clone().oneshot(self.base.clone()).await?;
        self.meters.opened.increment(1);
        // Not set: who has its name after a change of the configuration counts with it.
        self.meters.open.increment(1.0);
        let open = Open { number, open: self.meters.open.clone() };
        let is_http2 = self.http2 || stream.connected().is_negotiated_h2();
        self.is_http1.store(!is_http2, Relaxed);
        if !is_http2 {
            return Ok(Way::Line(Box::new(Line::new(stream, open).await?)));
        }
        let shared = Arc::new(Shared::new(stream, open).await?);
        if self.keeps() {
            self.shared.store(Some(Arc::clone(&shared)));
        }
        Ok(Way::Shared(shared))
    }

    fn keeps(&self) -> bool {
        !self.idle_timeout.is_zero()
    }

    fn keep(&self, mut line: Box<Line>) {
        if self.keeps() {
            line.rest();
            self.kept.put(line);
        } else {
            line.close();
        }
    }
}

/// An error with what caused it.
fn explain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (**error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// As it stands in the header: the usual port is left out.
fn host(base: &Uri) -> Option<HeaderValue> {
    let host = match (base.scheme_str(), base.port_u16()) {
        (Some("http"), Some(80)) | (Some("https"), Some(443)) => base.host()?,
        _ => base.authority()?.as_str(),
    };
    HeaderValue::from_str(host).ok()
}

/// Closes what nobody has used for so long, or the other side has closed.
async fn sweep(inner: Weak<Inner>, idle_timeout: Duration) {
    let interval = (idle_timeout / 2).min(Duration::from_secs(1));
    loop {
        time::sleep(interval).await;
        let Some(inner) = inner.upgrade() else { return };
        // Lets go of it where it is not good any more.
        drop(inner.shared());
        for number in 0..inner.kept.lines.len() {
            let Some(mut line) = inner.kept.take_this(number) else { continue };
            if line.is_good(idle_timeout) {
                inner.kept.put(line);
            } else {
                line.close();
            }
        }
    }
}

impl Kept {
    fn new(most: usize) -> Self {
        let lines = (0..most).map(|_| AtomicCell::new(None)).collect();
        Self { numbers: Numbers::none(most), lines }
    }

    fn put(&self, line: Box<Line>) {
        let number = line.open.number.number;
        self.lines[number].store(Some(line));
        self.numbers.put(number);
    }

    fn take(&self) -> Option<Box<Line>> {
        self.lines[self.numbers.take()?].take()
    }

    fn take_this(&self, number: usize) -> Option<Box<Line>> {
        self.numbers.take_this(number).then(|| self.lines[number].take())?
    }
}

impl Number {
    fn take(numbers: &Arc<Numbers>) -> Option<Self> {
        let number = numbers.take()?;
        Some(Self { number, numbers: Arc::clone(numbers) })
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.numbers.put(self.number);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

impl Received {
    /// Gives the connection back, as soon as it can take the next request.
    fn keep_if_free(&mut self) {
        if let Some(line) = self.line.take_if(|line| line.is_free()) {
            self.inner.keep(line);
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(line) = &mut this.line else {
            return Pin::new(&mut this.incoming).poll_frame(context);
        };
        let polled = line.poll_frame(&mut this.incoming, context);
        this.keep_if_free();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
