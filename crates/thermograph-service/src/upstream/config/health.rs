//! The configuration of health checks.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};
use thermograph_common::Invalid;

/// How it is found out whether an upstream is well: any answer below 500 says so.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Time from one check to the next. Default is 5 s.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Longest time of a check. Default is 2 s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Path of the check, from the root of the upstream's host. Default is none: the list of models is the
    /// check, unless `discover` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Failed checks in a row that make it unwell; one that succeeds makes it well. Default is 2.
    pub failures: u32,
}

impl HealthConfig {
    pub(super) fn validate(&self, name: &str) -> Result<(), Invalid> {
        let field = |key: &str| format!("upstreams.{name}.health.{key}");
        let allowed = Duration::from_millis(10)..=Duration::from_hours(1);
        Invalid::unless_within(field("interval"), self.interval, allowed.clone())?;
        Invalid::unless_within(field("timeout"), self.timeout, allowed)?;
        if let Some(path) = &self.path
            && !(path.starts_with('/') && !path.contains('#') && path.parse::<http::Uri>().is_ok())
        {
            let allowed = "a path that begins with `/`, without a fragment";
            return Err(Invalid::new(field("path"), path, allowed));
        }
        Invalid::unless_within(field("failures"), self.failures, 1..=100)
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            path: None,
            failures: 2,
        }
    }
}
