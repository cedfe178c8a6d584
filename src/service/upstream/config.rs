//! The configuration of an upstream.

mod gateway;
mod health;
mod key;
mod route;

use std::{path::PathBuf, time::Duration};

use http::{Uri, uri::Authority};
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};

pub use self::{
    gateway::GatewayConfig,
    health::HealthConfig,
    key::Key,
    route::{MemberConfig, RouteConfig, StickyConfig},
};
use crate::service::Invalid;

/// A server that has models: vLLM, llama.cpp, Ollama, OpenAI and the like.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Base of its API, with or without a trailing `/v1`.
    pub url: String,
    /// Key that it wants, sent as `authorization: Bearer …`. Default is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Variable of the environment that holds the key. Default is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
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
    /// Whether the models that it lists can be used by their names. Default is true.
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
    /// Fields of text that hold no secret.
    pub const SHOWN: [&str; 20] = [
        "url",
        "key_env",
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
    ];

    /// An upstream with everything else by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            key: None,
            key_env: None,
            key_file: None,
            forward_authorization: false,
            http2: false,
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
        if self.base().is_none() {
            let allowed = "http:// or https://, a host, if need be a port of 1 to 65535 and a path; \
                           no query, no password";
            return Err(Invalid::new(field("url"), &self.url, allowed));
        }
        if self.key.is_some() && self.key_env.is_some() {
            return Err(Invalid::new(field("key_env"), "", "`key` or `key_env`, not both"));
        }
        if self.key.as_ref().is_some_and(|key| !key.can_be_sent()) {
            return Err(Invalid::new(field("key"), "(set)", Key::ALLOWED));
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

    /// The API's base with its `/v1`, and without a slash at the end.
    pub(crate) fn base(&self) -> Option<String> {
        let base = self.url.trim_end_matches('/');
        let uri: Uri = base.parse().ok()?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.query().is_none() && uri.authority().is_some_and(is_host_and_port);
        if !known || !plain || uri.host().is_none_or(str::is_empty) {
            return None;
        }
        let with_version = base.rsplit('/').next().is_some_and(|last| last == "v1");
        Some(if with_version { base.to_owned() } else { format!("{base}/v1") })
    }
}

/// Whether there is nothing else in it, and no port that cannot be.
fn is_host_and_port(authority: &Authority) -> bool {
    let text = authority.as_str();
    let port = text.strip_prefix(authority.host());
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
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
    fn a_base_has_its_version_once() {
        let base = |url: &str| UpstreamConfig::new(url).base();
        for url in ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"] {
            assert_eq!(base(url).as_deref(), Some("http://a:1/v1"), "{url}");
        }
        assert_eq!(base("https://a/api").as_deref(), Some("https://a/api/v1"));
        assert_eq!(base("http://[::1]:9001").as_deref(), Some("http://[::1]:9001/v1"));
        let others = ["http://a:0", "http://a:70000", "http://a:b", "http://user:word@a/"];
        for url in ["", "a:1", "ftp://a", "http://", "http://a/?b=c"].into_iter().chain(others) {
            assert_eq!(base(url), None, "{url}");
        }
    }

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
        let config = UpstreamConfig { key, key_env: Some("K".to_owned()), ..good };
        assert_eq!(bad(&config), "upstreams.a.key_env");
    }
}
