//! The configuration of an upstream.

mod gateway;
mod headers;
mod health;
mod key;
mod route;
mod statuses;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};

pub use self::{
    gateway::GatewayConfig,
    health::HealthConfig,
    key::Key,
    route::{MemberConfig, RouteConfig, StickyConfig},
    statuses::StatusRule,
};
use thermograph_common::Invalid;

use super::{
    base::{self, Base},
    proxy::Proxy,
};

/// A server that has models: vLLM, llama.cpp, Ollama, OpenAI and the like.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Base of its API, as its provider documents it: paths such as `/chat/completions` are appended. A
    /// query is sent with every request.
    pub url: String,
    /// True if `/v1` is appended to a `url` without a path. Default is true.
    #[serde(default = "default_append_v1")]
    pub append_v1: bool,
    /// Key that it wants, sent as `authorization: Bearer …`. Default is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Variable of the environment that holds the key. Default is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// Header that holds the key alone, such as `api-key` or `x-api-key`. Default is none:
    /// `authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_header: Option<String>,
    /// Headers that requests to it have, by name; values are not shown. Default is none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Key>,
    /// Headers of clients that are passed on, beside `user-agent`, `x-request-id`, `traceparent`,
    /// `tracestate`, `idempotency-key`, OpenAI's and Anthropic's; a value that is a key of this server's
    /// never is. Default is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forward_headers: Vec<String>,
    /// File that holds the key; read when the configuration is loaded. Default is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Whether clients' own `authorization` is passed on where there is no key; keys of ours never
    /// are. Default is false.
    #[serde(default)]
    pub forward_authorization: bool,
    /// Whether to speak HTTP/2 without TLS; with TLS both sides agree by themselves. Default is
    /// false.
    #[serde(default)]
    pub http2: bool,
    /// Proxy of HTTP by which it is reached, or `none`. Default is that of the environment: `HTTPS_PROXY`,
    /// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`; never for a loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Certificates, PEM, that its certificate may be signed by, beside the system's. Default is
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// File of the certificate in PEM that is shown to it, with those that lead to its authority. Default
    /// is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// File of the private key of that certificate, in PEM. Default is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Most connections, without the one of health checks; further requests wait for one. Default
    /// is 256.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Longest wait for a connection, new or used before. Default is 5 s.
    #[serde(with = "duration", default = "default_connect_timeout")]
    pub connect_timeout: Duration,
    /// Longest wait for an answer once the request is on its way; one that is no stream begins
    /// when it is whole. Default is 5 minutes.
    #[serde(with = "duration", default = "default_first_byte_timeout")]
    pub first_byte_timeout: Duration,
    /// Longest silence in the middle of an answer. Default is 1 minute.
    #[serde(with = "duration", default = "default_between_bytes_timeout")]
    pub between_bytes_timeout: Duration,
    /// Longest time of a request, from its beginning to the last byte of the answer. Default is
    /// 10 minutes, as that of OpenAI's clients.
    #[serde(with = "duration", default = "default_request_timeout")]
    pub request_timeout: Duration,
    /// How long a connection is kept that nobody uses: less than the upstream keeps it, which is
    /// 5 s with uvicorn and 75 s with nginx. Default is 4 s.
    #[serde(with = "duration", default = "default_idle_timeout")]
    pub idle_timeout: Duration,
    /// True if the models that it lists can be used by their names. If false, and without `health.path`, it
    /// is asked for nothing but what clients want. Default is true.
    #[serde(default = "default_discover")]
    pub discover: bool,
    /// True if streams are asked for their usage (`stream_options`), which clients get only if they have
    /// asked for it; an upstream that refuses it is not asked again, and usage is estimated. Default is
    /// true.
    #[serde(default = "default_stream_usage")]
    pub stream_usage: bool,
    /// How it is found out whether it is well.
    #[serde(default)]
    pub health: HealthConfig,
}

impl UpstreamConfig {
    /// Fields that hold no secret.
    pub const SHOWN: [&str; 25] = [
        "url",
        "append_v1",
        "key_env",
        "key_header",
        "forward_headers",
        "proxy",
        "key_file",
        "ca_file",
        "tls_cert",
        "tls_key",
        "connect_timeout",
        "first_byte_timeout",
        "between_bytes_timeout",
        "request_timeout",
        "idle_timeout",
        "path",
        "interval",
        "timeout",
        "failures",
        "max_connections",
        "forward_authorization",
        "http2",
        "discover",
        "stream_usage",
        "health",
    ];

    /// Returns whether a URL holds a secret: a password, or a field of its query with such a name.
    pub fn has_secret(url: &str) -> bool {
        url.contains('@') || base::may_have_secret_in_query(url)
    }

    /// An upstream with everything else by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            append_v1: default_append_v1(),
            key: None,
            key_env: None,
            key_header: None,
            headers: BTreeMap::new(),
            forward_headers: Vec::new(),
            key_file: None,
            forward_authorization: false,
            http2: false,
            proxy: None,
            ca_file: None,
            tls_cert: None,
            tls_key: None,
            max_connections: default_max_connections(),
            connect_timeout: default_connect_timeout(),
            first_byte_timeout: default_first_byte_timeout(),
            between_bytes_timeout: default_between_bytes_timeout(),
            request_timeout: default_request_timeout(),
            idle_timeout: default_idle_timeout(),
            discover: default_discover(),
            stream_usage: default_stream_usage(),
            health: HealthConfig::default(),
        }
    }

    /// Checks what the types cannot say.
    pub(crate) fn validate(&self, name: &str) -> Result<(), Invalid> {
        let field = |key: &str| format!("upstreams.{name}.{key}");
        let allowed_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=64).contains(&name.len()) || !name.chars().all(allowed_name) {
            let allowed = "a name is 1 to 64 letters, digits, `-`, `_` and `.`";
            return Err(Invalid::new(format!("upstreams.{name}"), name, allowed));
        }
        let Some(base) = self.base() else {
            return Err(Invalid::new(field("url"), &self.url, Base::ALLOWED));
        };
        if let Some(name) = base::secret_in_query(&self.url) {
            let allowed = "a secret belongs in `key` or `headers`, not in the query of the URL";
            return Err(Invalid::new(field("url"), format!("…?{name}=…"), allowed));
        }
        if let Some((endpoint, base)) = base.without_endpoint() {
            let allowed = format!(
                "it ends in `{endpoint}`, which is appended; expected the base of its API: {base}"
            );
            return Err(Invalid::new(field("url"), &self.url, allowed));
        }
        if self.key.is_some() && self.key_env.is_some() {
            return Err(Invalid::new(field("key_env"), "", "`key` or `key_env`, not both"));
        }
        if self.key.as_ref().is_some_and(|key| !key.can_be_sent() || !key.is_ascii()) {
            return Err(Invalid::new(field("key"), "(set)", Key::ALLOWED));
        }
        self.validate_headers(name)?;
        if let Some(proxy) = self.proxy.as_ref().filter(|proxy| !Proxy::is_valid(proxy)) {
            let shown = if Self::has_secret(proxy) { "(set)" } else { proxy };
            return Err(Invalid::new(field("proxy"), shown, Proxy::ALLOWED));
        }
        let alone = match (&self.tls_cert, &self.tls_key) {
            (Some(file), None) => Some(("tls_cert", file, "tls_key")),
            (None, Some(file)) => Some(("tls_key", file, "tls_cert")),
            _ => None,
        };
        if let Some((key, file, other)) = alone {
            let allowed = format!("only together with `{other}`");
            return Err(Invalid::new(field(key), file.display(), allowed));
        }
        let most = 1..=65_536;
        Invalid::unless_within(field("max_connections"), self.max_connections, most)?;
        let timeouts = [
            ("connect_timeout", self.connect_timeout),
            ("first_byte_timeout", self.first_byte_timeout),
            ("between_bytes_timeout", self.between_bytes_timeout),
            ("request_timeout", self.request_timeout),
            ("idle_timeout", self.idle_timeout),
        ];
        for (key, value) in timeouts {
            let allowed = Duration::from_millis(1)..=Duration::from_hours(24);
            Invalid::unless_within(field(key), value, allowed)?;
        }
        self.health.validate(name)
    }

    /// The base of its API; `None` if the URL is none.
    pub(super) fn base(&self) -> Option<Base> {
        Base::new(&self.url, self.append_v1)
    }
}

fn default_append_v1() -> bool {
    true
}

fn default_max_connections() -> usize {
    256
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_first_byte_timeout() -> Duration {
    Duration::from_mins(5)
}

fn default_between_bytes_timeout() -> Duration {
    Duration::from_mins(1)
}

fn default_request_timeout() -> Duration {
    Duration::from_mins(10)
}

fn default_idle_timeout() -> Duration {
    Duration::from_secs(4)
}

fn default_discover() -> bool {
    true
}

fn default_stream_usage() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let bad = |config: &UpstreamConfig| config.validate("a").expect_err("bad").field;
        let good = UpstreamConfig::new("http://a");
        assert_eq!(good.validate("a"), Ok(()));
        assert_eq!(good.validate("a b").expect_err("bad").field, "upstreams.a b");
        let config = UpstreamConfig { max_connections: 0, ..good.clone() };
        assert_eq!(bad(&config), "upstreams.a.max_connections");
        let config = UpstreamConfig { idle_timeout: Duration::ZERO, ..good.clone() };
        assert_eq!(bad(&config), "upstreams.a.idle_timeout");
        let key = Some(Key::from("k".to_owned()));
        let config = UpstreamConfig { key, key_env: Some("K".to_owned()), ..good.clone() };
        assert_eq!(bad(&config), "upstreams.a.key_env");
        let key = Some(Key::from("k".to_owned()));
        for header in ["", "a b", "host", "content-type", "Cookie", "proxy-authenticate", "x-*"] {
            let (key, key_header) = (key.clone(), Some(header.to_owned()));
            let config = UpstreamConfig { key, key_header, ..good.clone() };
            assert_eq!(bad(&config), "upstreams.a.key_header");
        }
        let key_header = Some("api-key".to_owned());
        let alone = UpstreamConfig { key_header, ..good.clone() };
        assert_eq!(bad(&alone), "upstreams.a.key_header");
        assert_eq!(UpstreamConfig { key, ..alone }.validate("a"), Ok(()));
        for header in ["cookie", "Authorization", "connection", "*", "x-*", "x y", ""] {
            let forward_headers = vec![header.to_owned()];
            let config = UpstreamConfig { forward_headers, ..good.clone() };
            assert_eq!(bad(&config), "upstreams.a.forward_headers");
        }
        let forward_headers = ["x-tenant", "X-Tenant"].map(str::to_owned).to_vec();
        let config = UpstreamConfig { forward_headers, ..good.clone() };
        assert_eq!(bad(&config), "upstreams.a.forward_headers");
        let headers = |name: &str, value: &str| {
            BTreeMap::from([(name.to_owned(), Key::from(value.to_owned()))])
        };
        let config = UpstreamConfig { headers: headers("x-tenant", "(set)"), ..good.clone() };
        assert_eq!(bad(&config), "upstreams.a.headers.x-tenant");
        let twice = ["X-Tenant", "x-tenant"].into_iter().flat_map(|name| headers(name, "t"));
        let config = UpstreamConfig { headers: twice.collect(), ..good.clone() };
        assert_eq!(bad(&config), "upstreams.a.headers");
        let key = Some(Key::from("k".to_owned()));
        let config = UpstreamConfig { key, headers: headers("authorization", "x"), ..good.clone() };
        assert_eq!(bad(&config), "upstreams.a.headers");
        for query in ["key=1", "x=1&API_KEY=2", "sig=a"] {
            let config = UpstreamConfig { url: format!("http://a/b?{query}"), ..good.clone() };
            let error = config.validate("a").expect_err("a secret");
            assert!(!error.to_string().contains(query), "{error}");
        }
    }
}
