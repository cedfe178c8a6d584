//! State of the routes: the parts of the service that handlers use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::extract::FromRef;
use thermograph_engine::Engine;
use tokio::time::{self, Instant};

use super::{
    body::{Bodies, BodyError},
    cache::Cache,
    caller::Authenticator,
    entrance::Entrance,
    error::ApiError,
    limits::Limits,
    store::Store,
    upstream::Upstreams,
};

/// State of the routes.
pub(crate) struct AppState {
    pub(crate) engine: Engine,
    pub(crate) upstreams: Upstreams,
    /// Keys and the ledger, if there are any.
    pub(crate) store: Option<Store>,
    pub(crate) authenticator: Authenticator,
    pub(crate) entrance: Entrance,
    pub(crate) bodies: Bodies,
    pub(crate) cache: Cache,
    pub(crate) limits: Limits,
    /// Longest time that a request may take.
    pub(crate) request_timeout: Duration,
    pub(crate) readiness: Readiness,
}

/// Conditions in which the service is not ready although all its parts are.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    draining: AtomicBool,
    /// True while no more connections are served.
    full: AtomicBool,
}

impl AppState {
    /// Bounds the time of a request that has `started`, work on it included; dropped, the engine
    /// does no more for it either.
    pub(crate) async fn in_time<T>(
        &self,
        started: Instant,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let limit = self.request_timeout;
        time::timeout_at(started + limit, work).await.map_err(|_| ApiError::timeout(limit))?
    }

    /// Bounds the time of receiving a request that has `started`: past it, the client is at fault.
    pub(crate) async fn received_in_time<T>(
        &self,
        started: Instant,
        receiving: impl Future<Output = Result<T, BodyError>>,
    ) -> Result<T, ApiError> {
        let limit = self.request_timeout;
        let received = time::timeout_at(started + limit, receiving).await;
        Ok(received.map_err(|_| ApiError::slow_body(limit))??)
    }
}

impl Readiness {
    /// From now on the service is not ready.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether all connections that may be open are.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }
}

impl FromRef<Arc<AppState>> for Authenticator {
    fn from_ref(state: &Arc<AppState>) -> Self {
        state.authenticator.clone()
    }
}
