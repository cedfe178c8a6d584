//! Requests of one connection, and the state that they share.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    response::Response,
};
use http::{HeaderValue, Request, Version, header};
use hyper::{body::Incoming, service::Service as _};
use hyper_util::service::TowerToHyperService;
use tokio::sync::SetOnce;

use super::{
    discard::DiscardOnDrop,
    half_close::{HalfClose, UntilFin},
    host,
};

/// Answers the requests of a connection.
pub(super) struct Requests {
    pub(super) routes: TowerToHyperService<Router>,
    /// Answers requests without a valid `Host` header.
    pub(super) bad_host: TowerToHyperService<Router>,
    pub(super) connection: Arc<Connection>,
}

/// State of a connection.
pub(super) struct Connection {
    /// Set by the first request.
    pub(super) asked: SetOnce<()>,
    /// True if answers ask their clients to close the connection.
    closing: Arc<AtomicBool>,
    pub(super) half_close: Arc<HalfClose>,
}

impl Requests {
    pub(super) fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let version = request.version();
        let routes = if host::is_valid(&request) { &self.routes } else { &self.bad_host };
        let connection = Arc::clone(&self.connection);
        connection.request(version);
        let answer = routes.call(request.map(|body| connection.body(body, version)));
        async move {
            let mut response = answer.await?;
            if connection.ends_with_answer(version) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response)
        }
    }
}

impl Connection {
    pub(super) fn new(closing: Arc<AtomicBool>) -> Self {
        Self { asked: SetOnce::new(), closing, half_close: Arc::default() }
    }

    /// A request of this version came.
    fn request(&self, version: Version) {
        if !self.asked.initialized() {
            // Streams of one connection may be the first at once.
            let _set = self.asked.set(());
        }
        if version <= Version::HTTP_11 {
            self.half_close.request();
        }
    }

    /// The answer to a request of this version begins; returns whether it asks to close the
    /// connection. HTTP/2 has frames for that.
    fn ends_with_answer(&self, version: Version) -> bool {
        // Both: the answer is noted in any case.
        version <= Version::HTTP_11 && (self.half_close.answer() | self.closing.load(Relaxed))
    }

    fn body(&self, body: Incoming, version: Version) -> Body {
        if body.is_end_stream() {
            Body::empty()
        } else if version <= Version::HTTP_11 {
            Body::new(UntilFin::new(body, Arc::clone(&self.half_close)))
        } else {
            Body::new(DiscardOnDrop::new(body))
        }
    }
}
