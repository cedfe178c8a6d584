//! The AI API: OpenAI-compatible, with a local embedding engine and upstreams for the rest.
//!
//! Knows nothing of the diagnostics: it speaks through `tracing` and `metrics`, and whoever mounts
//! [`Service::router`] puts on from outside what watches it.
//!
//!
//! ```no_run
//! use thermograph_service::{Config, Hooks, Service};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = Service::start(Config::default(), Hooks::default())?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, service.router()).await?;
//! # Ok(()) }
//! ```
//!
//! # Modules, from the bottom up
//!
//! - `body`, `clock`, `pattern`, `request_id`, `usage`: no module of the service is below these.
//! - `breaker`: circuit breakers.
//! - `redis`: the connection to Redis.
//! - `limits`: limits of keys.
//! - `error`, `store`: the answer that each error becomes; keys and the usage log, which do not
//!   know it.
//! - `dialect`, `middleware`, `pages`: errors in the form of other APIs, layers around the routes,
//!   web pages that may use the API.
//! - `caller`: the key of a request.
//! - `entrance`: admission.
//! - `call`: what a request holds until it is over.
//! - `upstream`: servers to which requests are passed on.
//! - `cache`: answers and vectors that are kept.
//! - `config`, `state`: the configurations of all parts, and what handlers use.
//! - `routes`: the handlers.

#![forbid(unsafe_code)]

mod body;
mod breaker;
pub mod cache;
mod call;
mod caller;
mod clock;
mod config;
mod dialect;
mod entrance;
mod error;
mod limits;
pub mod middleware;
mod pages;
mod pattern;
pub mod redis;
mod request_id;
mod routes;
mod state;
pub mod store;
pub mod upstream;
mod usage;

use std::sync::Arc;

use axum::Router;
use thiserror::Error;
use tower::layer::util::Identity;

pub use config::Config;
pub use pages::PagesConfig;
pub use thermograph_common::{Hooks, Invalid};

use thermograph_engine::{Engine, LoadError, Missing};

use self::{
    body::Bodies,
    cache::Cache,
    caller::Authenticator,
    entrance::Entrance,
    limits::Limits,
    middleware::{Codecs, Whole},
    redis::Redis,
    state::{AppState, Readiness},
    store::{Store, StoreError},
    upstream::{StartError as UpstreamError, Upstreams},
};

/// The AI API of one process: cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Service {
    state: Arc<AppState>,
    config: Arc<Config>,
}

/// Why the service did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A local model is none.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// Files of a local model are not there.
    #[error("models.{name}.dir = {:?} is not allowed: a folder with {}", missing.dir(), missing.files())]
    Model {
        /// Name of the model.
        name: String,
        /// The files.
        missing: Missing,
    },
    /// An upstream cannot be used as it is configured.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis is a cluster.
    #[error(transparent)]
    Redis(#[from] redis::ClusterRejected),
}

impl Service {
    /// Loads the models and starts the engine's threads, whose work the hooks attribute; blocks while it
    /// does.
    pub fn start(config: Config, hooks: Hooks) -> Result<Self, StartError> {
        let upstreams = upstreams(&config)?;
        let store = Store::start(&config.store)?;
        let entrance = Entrance::new(config.gateway.entrance(), store.is_some());
        let engine = Engine::start(&config.engine, &config.models, hooks)?;
        report_missing(&engine, &config);
        let bodies = Bodies::new(config.body_limit);
        let redis = Redis::start(&config.redis)?;
        let cache = Cache::new(&config.cache, redis.as_ref(), engine.cpu());
        let limits = Limits::new(redis);
        let state = AppState {
            engine,
            upstreams,
            authenticator: Authenticator::new(store.clone(), config.pages.clone()),
            store,
            entrance,
            bodies,
            cache,
            limits,
            request_timeout: config.request_timeout,
            readiness: Readiness::default(),
        };
        Ok(Self { state: Arc::new(state), config: Arc::new(config) })
    }

    /// Checks what only a start looks at: files and proxies of upstreams, the folder of a database, and
    /// files of the models that are configured. Blocks.
    pub fn check(config: &Config) -> Result<(), StartError> {
        upstreams(config)?;
        Store::check(&config.store)?;
        for (name, model) in &config.models {
            let is_default = model.is_default_model(name);
            if let Some(missing) = Missing::of(model, is_default).filter(|_| !is_default) {
                return Err(StartError::Model { name: name.clone(), missing });
            }
        }
        Ok(())
    }

    /// Checks the upstreams' health, for ever; without it, they are taken to be well.
    pub async fn supervise(self) {
        self.state.upstreams.clone().supervise().await;
    }

    /// Takes over what can be changed while it runs: upstreams, the models that they have, how many
    /// requests are let in, and what is done about upstreams that fail. No request is lost. Blocks as [`Service::start`] does.
    pub fn reconfigure(&self, config: &Config) -> Result<(), StartError> {
        let Config { gateway, upstreams, routes, .. } = config;
        self.state.upstreams.configure(gateway, upstreams, routes)?;
        self.state.entrance.configure(gateway.entrance());
        Ok(())
    }

    /// The routes, with the middleware that belongs to them.
    pub fn router(&self) -> Router {
        self.routes().layer(self.middleware(Identity::new()))
    }

    /// The routes alone.
    pub fn routes(&self) -> Router {
        routes::router(Arc::clone(&self.state))
    }

    /// Routes of connections over the limit, which the server counts: liveness is answered, and
    /// everything else is rejected.
    pub fn routes_when_full(&self, max_connections: usize) -> Router {
        routes::when_full(max_connections)
    }

    /// Routes of requests whose `Host` header is missing, repeated or invalid, which the server checks.
    pub fn routes_without_host(&self) -> Router {
        routes::without_host()
    }

    /// The middleware for [`Service::routes`], with the layer of whoever watches requests from outside
    /// in its place.
    pub fn middleware<W>(&self, watch: W) -> Whole<W> {
        let codecs = Codecs::new(self.engine().cpu().clone());
        let Config { middleware, pages, .. } = &*self.config;
        middleware::stack(middleware, pages.cors(), codecs, watch)
    }

    /// The local engine.
    pub fn engine(&self) -> &Engine {
        &self.state.engine
    }

    /// Makes readiness say no, so that a load balancer sends nobody any more; requests are still
    /// answered.
    pub fn drain(&self) {
        self.state.readiness.drain();
    }

    /// Makes readiness fail while all connections that may be open are.
    pub fn set_full(&self, full: bool) {
        self.state.readiness.set_full(full);
    }

    /// Ends the engine's threads and those of the store, which writes what is left of the ledger,
    /// and waits for them; blocks while it does.
    pub fn stop(&self) {
        self.engine().stop();
        if let Some(store) = &self.state.store {
            store.stop();
        }
    }

    /// Upstreams that are reached by a proxy, and its address.
    pub fn proxies(&self) -> Vec<(String, String)> {
        self.state.upstreams.proxies()
    }
}

/// Logs which local models cannot be used, and why. The default one is not missed where upstreams have
/// the models and nothing else asks for it.
fn report_missing(engine: &Engine, config: &Config) {
    let is_needed = config.upstreams.is_empty() || config.cache.semantic_threshold > 0.0;
    for (model, missing) in engine.missing() {
        if missing.is_default() && !is_needed {
            tracing::info!(model, "{missing}");
        } else {
            tracing::error!(model, "{missing}");
        }
    }
}

/// The upstreams of a configuration.
fn upstreams(config: &Config) -> Result<Upstreams, UpstreamError> {
    let Config { gateway, upstreams, routes, models, .. } = config;
    Upstreams::new(gateway, upstreams, routes, models.keys().cloned().collect())
}
