//! Upstreams: servers that have models, to which requests are passed on.
//!
//! ```text
//! entrance ── document ── route ── choose ── attempt (connections) ── answer ── relay
//!                                    └── again, or somebody else, before the first byte
//! ```
//!
//! Bytes are passed on as they are; of a request, only what decides where it goes is read.

mod answer;
mod attempt;
mod balance;
mod base;
mod budget;
mod config;
mod connections;
mod content;
mod deadline;
mod document;
mod endpoint;
mod exchange;
mod failure;
mod headers;
mod health;
mod hide;
mod judge;
mod latency;
mod listed;
mod media;
mod meters;
mod one;
mod proxy;
mod receive;
mod relay;
mod table;
mod tls;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::{sync::Notify, task::JoinSet};

pub(crate) use self::{
    answer::{Answer, Answered},
    document::{Document, FormType},
    endpoint::{Endpoint, endpoints},
    exchange::{Exchange, Exchanged},
    listed::Listed,
    one::Upstream,
    table::Route,
};
use self::{budget::Budget, table::Table};
pub use self::{
    config::{
        GatewayConfig, HealthConfig, Key, MemberConfig, RouteConfig, StatusRule, StickyConfig,
        UpstreamConfig,
    },
    tls::TlsError,
};

/// The upstreams of a process; cheap to clone, all clones are one.
#[derive(Clone)]
pub(crate) struct Upstreams {
    inner: Arc<Inner>,
}

struct Inner {
    table: ArcSwap<Table>,
    settings: ArcSwap<Settings>,
    /// Names of the local models.
    local: HashSet<String>,
    /// The configured models. Its lock is for those who change the table.
    models: Mutex<BTreeMap<String, RouteConfig>>,
    /// The table has changed.
    changed: Notify,
}

/// What is the same for all upstreams.
struct Settings {
    config: GatewayConfig,
    budget: Budget,
}

/// Why upstreams cannot be used.
#[derive(Debug, Error)]
pub enum StartError {
    /// The URL is none.
    #[error("upstreams.{upstream}.url: `{url}` is not a URL of an API")]
    Url {
        /// Name of the upstream.
        upstream: String,
        /// The URL.
        url: String,
    },
    /// The environment has a proxy that is none of HTTP.
    #[error(
        "upstreams.{upstream}.proxy: the environment's proxy `{proxy}` is not allowed: {allowed}"
    )]
    Proxy {
        /// Name of the upstream.
        upstream: String,
        /// Its scheme.
        proxy: String,
        /// Allowed values.
        allowed: &'static str,
    },
    /// Nobody is trusted.
    #[error("upstreams.{upstream}.{why}")]
    Tls {
        /// Name of the upstream.
        upstream: String,
        /// Why.
        why: TlsError,
    },
}

impl Upstreams {
    /// Reads the trusted certificates, which blocks, and opens no connection. `local` holds the names of
    /// the local models.
    pub(crate) fn new(
        config: &GatewayConfig,
        upstreams: &BTreeMap<String, UpstreamConfig>,
        models: &BTreeMap<String, RouteConfig>,
        local: HashSet<String>,
    ) -> Result<Self, StartError> {
        meters::describe();
        let inner = Inner {
            table: ArcSwap::default(),
            settings: ArcSwap::from_pointee(Settings::new(config)),
            local,
            models: Mutex::default(),
            changed: Notify::new(),
        };
        let this = Self { inner: Arc::new(inner) };
        this.configure(config, upstreams, models)?;
        Ok(this)
    }

    /// Takes a new configuration, whole or not at all. Upstreams that stay the same keep their
    /// connections; requests that are on their way keep theirs in any case. Blocks as
    /// [`Upstreams::new`] does.
    pub(crate) fn configure(
        &self,
        config: &GatewayConfig,
        upstreams: &BTreeMap<String, UpstreamConfig>,
        models: &BTreeMap<String, RouteConfig>,
    ) -> Result<(), StartError> {
        let mut known = self.inner.models.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.inner.table.load_full();
        let same_rules = self.inner.settings.load().config == *config;
        let upstream = |(name, config_of): (&String, &UpstreamConfig)| {
            let kept = table.upstreams.get(name);
            if let Some(kept) = kept.filter(|kept| kept.is_as(config_of, config)) {
                return Ok((name.clone(), Arc::clone(kept)));
            }
            let upstream = Upstream::new(name, config_of, config)?;
            if let Some(before) = kept.filter(|before| before.config.url == config_of.url) {
                upstream.inherit(before);
            }
            Ok((name.clone(), Arc::new(upstream)))
        };
        let upstreams = upstreams.iter().map(upstream).collect::<Result<_, StartError>>()?;
        if !same_rules {
            self.inner.settings.store(Arc::new(Settings::new(config)));
        }
        self.inner.table.store(Arc::new(Table::new(upstreams, models, &table)));
        models.clone_into(&mut known);
        self.inner.changed.notify_one();
        Ok(())
    }

    /// Time of silence after which a stream has a comment.
    pub(crate) fn stream_keep_alive(&self) -> Option<Duration> {
        self.inner.settings.load().config.stream_keep_alive
    }

    /// Route of a model, if it is upstream. The name of a local model fits no pattern, also while its
    /// files are missing: inputs that are meant for this process do not leave it by a mistake.
    pub(crate) fn route(&self, model: &str) -> Option<Arc<Route>> {
        let table = self.inner.table.load();
        let by_pattern = || table.by_pattern(model).filter(|_| !self.inner.local.contains(model));
        table.by_name(model).or_else(by_pattern).cloned()
    }

    /// An upstream that has not said yet what models it has: a model that is not known may be its.
    pub(crate) fn unlisted(&self) -> Option<Arc<Upstream>> {
        let table = self.inner.table.load();
        let mut upstreams = table.upstreams.values();
        upstreams.find(|upstream| !upstream.has_listed.load(Relaxed)).cloned()
    }

    /// Returns whether the models of none are known.
    pub(crate) fn has_no_models(&self) -> bool {
        self.inner.table.load().is_empty()
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.table.load().upstreams.is_empty()
    }

    /// The models that are upstream, by name.
    pub(crate) fn models(&self) -> Vec<Listed> {
        let table = self.inner.table.load();
        let mut models: Vec<_> = table.routes.values().map(|route| route.listed.clone()).collect();
        models.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        models
    }

    /// Upstreams that are reached by a proxy, with its address.
    pub(crate) fn proxies(&self) -> Vec<(String, String)> {
        let table = self.inner.table.load();
        let proxied = table
            .upstreams
            .values()
            .filter_map(|upstream| Some((upstream.name().to_owned(), upstream.proxy.clone()?)));
        proxied.collect()
    }

    /// The first upstream that was not checked yet: it is not known whether it is there.
    pub(crate) fn unchecked(&self) -> Option<String> {
        let table = self.inner.table.load();
        let unchecked = |upstream: &&Arc<Upstream>| !upstream.checked.load(Relaxed);
        table.upstreams.values().find(unchecked).map(|upstream| upstream.name().to_owned())
    }

    /// Checks the upstreams' health, for ever.
    pub(crate) async fn supervise(self) {
        let mut checks = JoinSet::new();
        let mut watched: BTreeMap<String, Weak<Upstream>> = BTreeMap::new();
        loop {
            let table = self.inner.table.load_full();
            for (name, upstream) in &table.upstreams {
                let this = Arc::downgrade(upstream);
                if watched.get(name).is_some_and(|watched| watched.ptr_eq(&this)) {
                    continue;
                }
                watched.insert(name.clone(), Weak::clone(&this));
                checks.spawn(upstream.connections.sweep());
                checks.spawn(health::watch(this, self.clone()));
            }
            watched.retain(|name, _| table.upstreams.contains_key(name));
            drop(table);
            tokio::select! {
                // Cancel-safe: a change that is not noticed now is noticed next time.
                () = self.inner.changed.notified() => {}
                // Those of upstreams that are gone.
                Some(_) = checks.join_next() => {}
            }
        }
    }

    /// An upstream lists other models than before.
    fn refresh(&self) {
        let models = self.inner.models.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.inner.table.load_full();
        let fresh = Table::new(table.upstreams.clone(), &models, &table);
        self.inner.table.store(Arc::new(fresh));
    }

    fn settings(&self) -> Arc<Settings> {
        self.inner.settings.load_full()
    }
}

impl Settings {
    fn new(config: &GatewayConfig) -> Self {
        let budget = Budget::new(config.retry_budget, config.retry_reserve);
        Self { config: config.clone(), budget }
    }
}
