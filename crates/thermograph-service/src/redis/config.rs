//! The configuration of Redis.

use std::{fmt, path::PathBuf, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use redis::{Client, IntoConnectionInfo as _};
use serde::{Deserialize, Serialize};
use thermograph_common::Invalid;

/// Where Redis is, and how long it may take.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `redis://host:6379/0`, `rediss://…` with TLS, or `unix:///path` of a single primary, with or
    /// without replicas; Redis Cluster is rejected. Empty: there is no Redis. Default is empty.
    pub url: Url,
    /// File that holds the URL; read when the configuration is loaded. Default is none.
    pub url_file: PathBuf,
    /// What every key of ours begins with: several services may share a Redis. Default is
    /// `thermograph`.
    pub namespace: String,
    /// Longest wait for an answer; then it is done without. Default is 20 ms.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

/// Address of a Redis, which may hold a password: neither `Debug` nor an error shows it.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Url(String);

impl Config {
    /// Checks what the types cannot say.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        if !self.url.0.is_empty() && self.client().is_none() {
            let allowed = "redis://host:port/database, rediss://… with TLS, unix:///path, or \"\" \
                           for none";
            return Err(Invalid::new("redis.url", "(set)", allowed));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=64).contains(&self.namespace.len()) || !self.namespace.bytes().all(plain) {
            let allowed = "1 to 64 letters, digits, `-`, `_` and `.`";
            return Err(Invalid::new("redis.namespace", &self.namespace, allowed));
        }
        let allowed = Duration::from_millis(1)..=Duration::from_secs(10);
        Invalid::unless_within("redis.timeout", self.timeout, allowed)
    }

    /// Connects to nobody yet; none where there is no Redis, or its address is none.
    pub(super) fn client(&self) -> Option<Client> {
        let info = self.url.0.as_str().into_connection_info().ok()?;
        Client::open(info).ok()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: Url::default(),
            url_file: PathBuf::new(),
            namespace: "thermograph".to_owned(),
            timeout: Duration::from_millis(20),
        }
    }
}

impl From<String> for Url {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(set)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_judged_by_their_scheme_and_host_alone() {
        for good in ["", "redis://cluster-memory:1/0", "rediss://u:sentinel@a", "unix:///redis+"] {
            let config = Config { url: Url::from(good.to_owned()), ..Config::default() };
            assert_eq!(config.validate(), Ok(()), "{good}");
        }
        for bad in ["a:6379", "http://a/redis://b", "redis:", "redis://a/hunter2"] {
            let config = Config { url: Url::from(bad.to_owned()), ..Config::default() };
            let refused = config.validate().expect_err(bad).to_string();
            assert!(refused.contains("redis.url: `(set)`"), "{refused}");
        }
    }
}
