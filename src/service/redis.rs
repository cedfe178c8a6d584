//! Redis, as far as it is there: what is asked of it is answered within a time-out or done without.
//!
//! One multiplexed connection for the process. Where Redis is gone or hangs, the first requests
//! wait for the time-out; then a breaker opens, and the others do not ask.

mod config;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::{Counter, Histogram, Unit};
use redis::{
    FromRedisValue, RedisError, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use thiserror::Error;
use tokio::time::{self, Instant};

pub use self::config::{Config, Url};
use super::breaker::{Breaker, Rule};

/// A Redis that may be gone; cheap to clone, all clones are one.
#[derive(Clone)]
pub(crate) struct Redis {
    inner: Arc<Inner>,
}

/// Redis did not answer: it is done without.
#[derive(Debug, Error)]
#[error("Redis did not answer")]
pub(crate) struct Gone;

struct Inner {
    client: redis::Client,
    /// Made by the first request: it belongs to the runtime.
    manager: OnceLock<Option<ConnectionManager>>,
    namespace: String,
    timeout: Duration,
    breaker: Breaker,
    meters: Meters,
}

struct Meters {
    answered: Counter,
    timeout: Counter,
    failed: Counter,
    refused: Counter,
    opened: Counter,
    duration: Histogram,
}

impl Redis {
    /// Longest time for a connection, which all that want it wait for, each no longer than for an
    /// answer.
    const CONNECT: Duration = Duration::from_secs(1);
    /// Opens after so few failures: each is a request that waited for nothing.
    const RULE: Rule = Rule {
        share: 0.5,
        requests: 5,
        window: Duration::from_secs(10),
        open: Duration::from_millis(500),
    };

    /// None where none is configured. Connects to nobody yet.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let client = config.client()?;
        let (manager, breaker) = (OnceLock::new(), Breaker::new(Self::RULE));
        let Config { namespace, timeout, .. } = config.clone();
        let meters = Meters::new();
        let inner = Inner { client, manager, namespace, timeout, breaker, meters };
        Some(Self { inner: Arc::new(inner) })
    }

    /// The name of a key of ours.
    pub(crate) fn key(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{name}", self.inner.namespace)
    }

    /// Asks, and waits no longer than may be.
    pub(crate) async fn ask<T, F>(
        &self,
        ask: impl FnOnce(ConnectionManager) -> F,
    ) -> Result<T, Gone>
    where
        T: FromRedisValue,
        F: Future<Output = RedisResult<T>>,
    {
        let Inner { breaker, meters, timeout, .. } = &*self.inner;
        let Some(pass) = breaker.enter() else {
            meters.refused.increment(1);
            return Err(Gone);
        };
        let began = Instant::now();
        let manager = self.manager().ok_or(Gone)?;
        let answer = time::timeout(*timeout, ask(manager)).await;
        meters.duration.record(began.elapsed());
        let error = match answer {
            Ok(Ok(answer)) => {
                meters.answered.increment(1);
                breaker.succeeded(pass);
                return Ok(answer);
            }
            Ok(Err(error)) => {
                meters.failed.increment(1);
                told(&error)
            }
            Err(_) => {
                meters.timeout.increment(1);
                "no answer in time".to_owned()
            }
        };
        if breaker.failed(pass) {
            meters.opened.increment(1);
            tracing::warn!(error, "Redis is done without for a while");
        }
        Err(Gone)
    }

    fn manager(&self) -> Option<ConnectionManager> {
        let make = || {
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(Self::CONNECT))
                // The time-out is ours, and counts the wait for a connection.
                .set_response_timeout(None)
                .set_number_of_retries(0);
            let made = ConnectionManager::new_lazy_with_config(self.inner.client.clone(), config);
            made.inspect_err(|error| tracing::error!(error = told(error), "Redis is not used")).ok()
        };
        self.inner.manager.get_or_init(make).clone()
    }
}

/// An error without what was sent, which may be a password.
fn told(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        None => format!("{:?}", error.kind()),
    }
}

impl Meters {
    fn new() -> Self {
        use metrics::{describe_counter, describe_histogram};
        let requests = "thermograph_redis_requests_total";
        describe_counter!(requests, Unit::Count, "Requests to Redis, by what came of them.");
        let opened = "thermograph_redis_breaker_opened_total";
        describe_counter!(opened, Unit::Count, "How often Redis was done without for a while.");
        let duration = "thermograph_redis_request_duration_seconds";
        describe_histogram!(duration, Unit::Seconds, "Time of requests to Redis.");
        let of = |outcome: &'static str| metrics::counter!(requests, "outcome" => outcome);
        Self {
            answered: of("answered"),
            timeout: of("timeout"),
            failed: of("failed"),
            refused: of("not_asked"),
            opened: metrics::counter!(opened),
            duration: metrics::histogram!(duration),
        }
    }
}
