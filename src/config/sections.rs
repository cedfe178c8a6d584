//! The sections of the configuration, put together from the components' own.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use bytesize::ByteSize;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};
use thermograph;
use thermograph_service::{
    PagesConfig, cache, middleware, redis,
    store::StoreConfig,
    upstream::{GatewayConfig, UpstreamConfig},
};

use super::tls_files::TlsFiles;
use super::{Listen, Mode, Models, conflicts};

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The door for clients of the AI API.
    pub api: Api,
    /// What is logged, and how.
    pub log: Log,
    /// The diagnostics.
    pub diagnostics: thermograph::Config,
    /// What is kept of answers.
    pub cache: cache::Config,
    /// The local engine.
    pub engine: thermograph_engine::Config,
    /// What stands before all upstreams.
    pub gateway: GatewayConfig,
    /// Keys and the ledger.
    pub store: StoreConfig,
    /// Models, by the name that clients ask for.
    pub models: Models,
    /// Which layers are on.
    pub middleware: middleware::Config,
    /// Redis, for all instances.
    pub redis: redis::Config,
    /// Upstreams, by the name that models and metrics call them.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
}

/// The door for clients of the AI API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address, or the path of a socket as `unix:/path`. Default is `127.0.0.1:8080`.
    pub listen: Listen,
    /// Permissions of that socket. Default is `0660`.
    pub socket_mode: Mode,
    /// File of the certificate in PEM, with those that lead to its authority; with it, clients speak
    /// TLS. Default is none.
    pub tls_cert: PathBuf,
    /// File of its private key in PEM. Default is none.
    pub tls_key: PathBuf,
    /// File of the authorities, in PEM, of the certificates that clients must have. Default is none:
    /// they need no certificate.
    pub tls_client_ca: PathBuf,
    /// Longest time a request may take. Default is 60 s.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// Largest request body. Default is 8 MiB.
    pub body_limit: ByteSize,
    /// Most connections at a time; further ones are answered 503. Default is 10000.
    pub max_connections: usize,
    /// How long a connection may be idle, take for a request's head, or take nothing of an answer.
    /// Default is 75 s.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Origins of the web pages that may use the API, such as `https://app.example`; `*` for all
    /// (CORS). Default is none.
    pub cors_origins: Vec<String>,
    /// Host names that requests may be for, besides addresses and names without a dot such as
    /// `localhost`, where `listen` is on loopback and no key is needed; `*` for all. Default is none.
    pub allowed_hosts: Vec<String>,
    /// After SIGTERM: how long new connections are still accepted, while readiness fails and answers
    /// ask their clients to close. SIGINT has none. Default is 8 s.
    #[serde(with = "duration")]
    pub shutdown_grace: Duration,
    /// After that: how long requests may take to finish. Default is 20 s.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Form of a line. Default is `auto`.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`; `RUST_LOG` sets it too. Default is `info`.
    pub filter: String,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines, an object a line.
    Json,
}

impl Config {
    /// The part that is the service's.
    pub fn service(&self) -> thermograph_service::Config {
        thermograph_service::Config {
            request_timeout: self.api.request_timeout,
            body_limit: self.api.body_limit,
            pages: self.pages(),
            cache: self.cache.clone(),
            middleware: self.middleware.clone(),
            redis: self.redis.clone(),
            engine: self.engine.clone(),
            models: self.models.local.clone(),
            gateway: self.gateway.clone(),
            store: self.store.clone(),
            upstreams: self.upstreams.clone(),
            routes: self.models.upstream.clone(),
        }
    }

    /// Hosts and origins are checked where a browser on this machine is all that keeps others out.
    fn pages(&self) -> PagesConfig {
        let Api { listen, cors_origins, allowed_hosts, .. } = &self.api;
        let is_loopback = listen.tcp().is_some_and(|address| address.ip().is_loopback());
        let is_checked = is_loopback && !self.store.require_keys;
        PagesConfig {
            origins: cors_origins.clone(),
            hosts: is_checked.then(|| allowed_hosts.clone()),
        }
    }

    /// Address of the API if all callers that reach it can use its models: it is not on loopback, and
    /// they need neither a key nor a certificate.
    pub(crate) fn open_address(&self) -> Option<SocketAddr> {
        let has_keys = self.store.require_keys || !self.api.tls_client_ca.as_os_str().is_empty();
        self.api.listen.tcp().filter(|address| !has_keys && !address.ip().is_loopback())
    }

    /// Files of the API's TLS and of that of the diagnostics. An error is the path of a value and what
    /// is allowed.
    pub(crate) fn tls(&self) -> Result<[Option<TlsFiles>; 2], (String, String)> {
        let Api { tls_cert, tls_key, tls_client_ca, .. } = &self.api;
        let api = TlsFiles::new("api", tls_cert, tls_key, tls_client_ca)?;
        let thermograph::Config { tls_cert, tls_key, tls_client_ca, .. } = &self.diagnostics;
        Ok([api, TlsFiles::new("diagnostics", tls_cert, tls_key, tls_client_ca)?])
    }

    /// Checks what the types cannot say: the path of the first bad field, and what is allowed.
    pub(super) fn validate(&self) -> Result<(), (String, String)> {
        self.diagnostics
            .validate()
            .map_err(|bad| (format!("diagnostics.{}", bad.field), bad.allowed.to_owned()))?;
        self.service().validate().map_err(|bad| {
            let of_the_api = ["request_timeout", "body_limit", "cors_origins", "allowed_hosts"]
                .contains(&bad.field.as_str());
            let section = if of_the_api { "api." } else { "" };
            (format!("{section}{}", bad.field), bad.allowed)
        })?;
        if !(1..=1_000_000).contains(&self.api.max_connections) {
            return Err(("api.max_connections".to_owned(), "1 to 1000000".to_owned()));
        }
        if self.api.idle_timeout.is_zero() {
            return Err(("api.idle_timeout".to_owned(), "more than 0 s".to_owned()));
        }
        self.tls()?;
        conflicts::check(self)?;
        tracing_subscriber::EnvFilter::try_new(&self.log.filter).map_err(|error| {
            let allowed = format!("directives such as `info,thermograph=debug` ({error})");
            ("log.filter".to_owned(), allowed)
        })?;
        Ok(())
    }
}

impl Default for Api {
    fn default() -> Self {
        let thermograph_service::Config { request_timeout, body_limit, .. } =
            thermograph_service::Config::default();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)).into(),
            socket_mode: Mode(0o660),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_client_ca: PathBuf::new(),
            request_timeout,
            body_limit,
            max_connections: 10_000,
            idle_timeout: Duration::from_secs(75),
            cors_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            // Longer than a balancer takes to notice: HAProxy by default needs three checks, 2 s apart.
            // Shorter than the 10 s after which `docker stop` kills.
            shutdown_grace: Duration::from_secs(8),
            // Both together are less than the 30 s after which Kubernetes kills by default.
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_off_loopback_is_open_without_keys_and_certificates() {
        let open: SocketAddr = ([0, 0, 0, 0], 8080).into();
        let mut config = Config::default();
        assert_eq!(config.open_address(), None);
        config.api.listen = open.into();
        assert_eq!(config.open_address(), Some(open));
        config.api.tls_client_ca = "clients.pem".into();
        assert_eq!(config.open_address(), None);
        config.api.tls_client_ca = PathBuf::new();
        config.store.require_keys = true;
        assert_eq!(config.open_address(), None);
    }

    #[test]
    fn default_stop_suits_balancers_and_fits_into_the_period_of_kubernetes() {
        let Api { shutdown_grace, drain_timeout, .. } = Api::default();
        // HAProxy's default: three checks that fail, 2 s apart.
        assert!(shutdown_grace > Duration::from_secs(6));
        // Docker's and Kubernetes' defaults, with some time for the rest.
        assert!(shutdown_grace < Duration::from_secs(10));
        assert!(shutdown_grace + drain_timeout <= Duration::from_secs(28));
    }
}
