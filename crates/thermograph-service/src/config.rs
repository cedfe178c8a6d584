//! The configuration of the service.

use std::{collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use thermograph_common::Invalid;
use thermograph_engine::ModelConfig;

use super::{
    cache, middleware,
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
    pub engine: thermograph_engine::Config,
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

impl Config {
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
            engine: thermograph_engine::Config::default(),
            gateway: GatewayConfig::default(),
            store: StoreConfig::default(),
            upstreams: BTreeMap::new(),
            routes: BTreeMap::new(),
            models: BTreeMap::from([(
                ModelConfig::DEFAULT_NAME.to_owned(),
                ModelConfig::default_model(),
            )]),
        }
    }
}
