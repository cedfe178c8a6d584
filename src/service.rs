//! The AI API: OpenAI-compatible, with a local embedding engine.
//!
//! Knows nothing of the diagnostics: it speaks through `tracing` and `metrics`, and whoever mounts
//! [`Service::router`] puts on from outside what watches it.
//!
//! ```no_run
//! use thermograph::service::{Config, Service};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = Service::start(Config::default())?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, service.router()).await?;
//! # Ok(()) }
//! ```

pub mod badge;
mod body;
mod config;
mod cpu;
pub mod engine;
mod error;
mod middleware;
mod nice;
mod routes;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::Router;

pub use config::{Config, Invalid};
pub use middleware::with_request_ids;

use self::{
    body::Bodies,
    engine::{Engine, LoadError},
};

/// The AI API of one process: cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    engine: Engine,
    bodies: Bodies,
    draining: AtomicBool,
}

impl Service {
    /// Loads the models and starts the engine's threads; blocks while it does.
    pub fn start(config: Config) -> Result<Self, LoadError> {
        let engine = Engine::start(&config.engine, &config.models)?;
        let bodies = Bodies::new(config.body_limit);
        let inner = Inner { config, engine, bodies, draining: AtomicBool::new(false) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The routes, with the middleware that belongs to them.
    pub fn router(&self) -> Router {
        with_request_ids(self.anonymous_router())
    }

    /// The same without request ids, for whoever puts layers on that must see them: those belong
    /// around the layers, by [`with_request_ids`].
    pub fn anonymous_router(&self) -> Router {
        middleware::stack(routes::router(self), &self.inner.config)
    }

    /// The local engine.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Makes readiness say no, so that a load balancer sends nobody any more; requests are still
    /// answered.
    pub fn drain(&self) {
        self.inner.draining.store(true, Relaxed);
    }

    /// Ends the engine's threads, and waits for them; blocks while it does.
    pub fn stop(&self) {
        self.engine().stop();
    }

    fn is_draining(&self) -> bool {
        self.inner.draining.load(Relaxed)
    }
}
