//! The configuration of the service.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, time::Duration};

use bytesize::ByteSize;
use thiserror::Error;

use super::{
    cache,
    engine::{self, ModelConfig},
    middleware,
    pages::PagesConfig,
    redis,
    store::StoreConfig,
    upstream::{GatewayConfig, RouteConfig, UpstreamConfig},
};

/// What the service is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Longest time a request may take, from its head to its answer. Default is 60 s.
    pub request_timeout: Duration,
    /// Largest request body. Default is 8 MiB.
    pub body_limit: ByteSize,
    /// The web pages that may use the API. Default is none of them, unchecked.
    pub pages: PagesConfig,
    /// What is kept of answers. Default is nothing.
    pub cache: cache::Config,
    /// Which layers are on.
    pub middleware: middleware::Config,
    /// Redis, for all instances. Default is none.
    pub redis: redis::Config,
    /// The local engine.
    pub engine: engine::Config,
    /// What stands before all upstreams.
    pub gateway: GatewayConfig,
    /// Keys and the ledger. Default is none.
    pub store: StoreConfig,
    /// Upstreams by name. Default is none.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
    /// Models that live upstream, by the name that clients ask for. Default is none but those
    /// that upstreams list.
    pub routes: BTreeMap<String, RouteConfig>,
    /// Local models by the name that clients ask for. Default is `all-MiniLM-L6-v2` in
    /// `models/all-MiniLM-L6-v2`.
    pub models: BTreeMap<String, ModelConfig>,
}

/// A value that the configuration does not allow.
#[derive(Debug, Error, PartialEq)]
#[error("{field}: `{value}` is not allowed: {allowed}")]
pub struct Invalid {
    /// Path of the field.
    pub field: String,
    /// The value that was given.
    pub value: String,
    /// Allowed values.
    pub allowed: String,
}

impl Config {
    /// Name of the model that is there by default.
    pub const DEFAULT_MODEL: &str = "all-MiniLM-L6-v2";
    /// Most upstreams.
    const UPSTREAMS: usize = 1000;
    /// Bounds of [`Config::body_limit`].
    const BODY_LIMIT: std::ops::RangeInclusive<u64> = 1024..=1 << 30;

    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.request_timeout.is_zero() {
            return Err(Invalid::new("request_timeout", "0 s", "more than 0 s"));
        }
        if !Self::BODY_LIMIT.contains(&self.body_limit.as_u64()) {
            return Err(Invalid::new("body_limit", self.body_limit, "1 KiB to 1 GiB"));
        }
        self.pages.validate()?;
        self.cache.validate(&self.models)?;
        self.middleware.validate()?;
        self.redis.validate()?;
        self.engine.validate()?;
        self.gateway.validate()?;
        self.store.validate()?;
        let per_key = self.gateway.max_in_flight_per_key;
        if per_key > 0 && self.store.url.is_empty() {
            let allowed = "0, since there is no `store.url` where keys could be";
            return Err(Invalid::new("gateway.max_in_flight_per_key", per_key, allowed));
        }
        if self.upstreams.len() > Self::UPSTREAMS {
            let allowed = format!("at most {}", Self::UPSTREAMS);
            return Err(Invalid::new("upstreams", self.upstreams.len(), allowed));
        }
        for (name, upstream) in &self.upstreams {
            upstream.validate(name)?;
        }
        for (name, route) in &self.routes {
            route.validate(name, &self.upstreams)?;
        }
        for (name, model) in &self.models {
            model.validate(name)?;
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_mins(1),
            body_limit: ByteSize::mib(8),
            pages: PagesConfig::default(),
            cache: cache::Config::default(),
            middleware: middleware::Config::default(),
            redis: redis::Config::default(),
            engine: engine::Config::default(),
            gateway: GatewayConfig::default(),
            store: StoreConfig::default(),
            upstreams: BTreeMap::new(),
            routes: BTreeMap::new(),
            models: BTreeMap::from([(Self::DEFAULT_MODEL.to_owned(), default_model())]),
        }
    }
}

/// The local model that is there by default.
fn default_model() -> ModelConfig {
    let dir = ["models", Config::DEFAULT_MODEL].iter().collect();
    ModelConfig { dir, ..ModelConfig::default() }
}

/// Returns whether a local model is the one that is there by default.
pub(super) fn is_default_model(name: &str, model: &ModelConfig) -> bool {
    name == Config::DEFAULT_MODEL && *model == default_model()
}

/// Whether a model may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && !name.chars().any(char::is_control)
}

impl Invalid {
    /// Refuses a value that is out of its bounds.
    pub(crate) fn unless_within<T: Copy + PartialOrd + fmt::Debug>(
        field: impl Into<String>,
        value: T,
        allowed: RangeInclusive<T>,
    ) -> Result<(), Self> {
        if allowed.contains(&value) {
            return Ok(());
        }
        let (least, most) = allowed.into_inner();
        Err(Self::new(field, format!("{value:?}"), format!("{least:?} to {most:?}")))
    }

    pub(crate) fn new(
        field: impl Into<String>,
        value: impl std::fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), value: value.to_string(), allowed: allowed.into() }
    }
}
