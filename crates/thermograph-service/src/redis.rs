//! Redis, as far as it is there: what is asked of it is answered within a time-out or done without.
//!
//! One multiplexed connection for the process. Where Redis is gone or hangs, the first requests
//! wait for the time-out; then a breaker opens, and the others do not ask.
//!
//! A connection whose server cannot serve any more, as one that has become a replica, is replaced:
//! the new one resolves the name again and reaches the new primary. Redis Cluster is rejected: keys
//! that are used together would be on several nodes.

mod config;
mod errors;
mod mode;
mod outage;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwapOption;

use metrics::{Counter, Histogram, Unit};
use redis::{
    FromRedisValue, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use thiserror::Error;
use tokio::time::{self, Instant};

use self::outage::Outage;
pub use self::{
    config::{Config, Url},
    mode::ClusterRejected,
};
use self::{errors::told, mode::Mode};
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
    /// Made by the first request, since it belongs to the runtime, and again after it was dropped.
    connection: ArcSwapOption<ConnectionManager>,
    /// Not known until Redis was reached.
    mode: OnceLock<Mode>,
    namespace: String,
    timeout: Duration,
    breaker: Breaker,
    outage: Outage,
    meters: Meters,
}

struct Meters {
    answered: Counter,
    timeout: Counter,
    failed: Counter,
    refused: Counter,
    cluster: Counter,
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

    /// `None` if none is configured. Rejects a Redis Cluster, as far as Redis can be reached, and
    /// blocks for a second at most.
    pub(crate) fn start(config: &Config) -> Result<Option<Self>, ClusterRejected> {
        let Some(client) = config.client() else { return Ok(None) };
        let (mode, outage) = (OnceLock::new(), Outage::default());
        match Mode::ask_blocking(client.clone(), Self::CONNECT) {
            Ok(Mode::Cluster) => return Err(ClusterRejected),
            Ok(Mode::Single) => drop(mode.set(Mode::Single)),
            // The first request that reaches Redis asks again.
            Err(error) => outage.begin(&error),
        }
        let Config { namespace, timeout, .. } = config.clone();
        let inner = Inner {
            client,
            connection: ArcSwapOption::empty(),
            mode,
            namespace,
            timeout,
            breaker: Breaker::new(Self::RULE),
            outage,
            meters: Meters::new(),
        };
        Ok(Some(Self { inner: Arc::new(inner) }))
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
        let Inner { breaker, meters, timeout, mode, outage, .. } = &*self.inner;
        if mode.get() == Some(&Mode::Cluster) {
            meters.cluster.increment(1);
            return Err(Gone);
        }
        let Some(pass) = breaker.enter() else {
            meters.refused.increment(1);
            return Err(Gone);
        };
        let began = Instant::now();
        let connection = self.connection().ok_or(Gone)?;
        let answer = time::timeout(*timeout, async {
            match self.mode(&connection).await? {
                Mode::Single => ask((*connection).clone()).await.map(Some),
                Mode::Cluster => Ok(None),
            }
        });
        let answer = answer.await;
        meters.duration.record(began.elapsed());
        let error = match answer {
            Ok(Ok(Some(answer))) => {
                meters.answered.increment(1);
                breaker.succeeded(pass);
                outage.end();
                return Ok(answer);
            }
            Ok(Ok(None)) => {
                meters.cluster.increment(1);
                breaker.succeeded(pass);
                return Err(Gone);
            }
            Ok(Err(error)) => {
                meters.failed.increment(1);
                let (is_of_server, told) = (errors::is_of_server(&error), told(&error));
                if is_of_server {
                    self.inner.connection.compare_and_swap(&connection, None);
                }
                if is_of_server || error.is_io_error() {
                    outage.begin(&told);
                }
                told
            }
            Err(_) => {
                meters.timeout.increment(1);
                outage.late(errors::LATE);
                errors::LATE.to_owned()
            }
        };
        if breaker.failed(pass) {
            meters.opened.increment(1);
            outage.begin(&error);
        }
        Err(Gone)
    }

    /// The connection of the process, which may still have to connect.
    fn connection(&self) -> Option<Arc<ConnectionManager>> {
        let Inner { connection, client, .. } = &*self.inner;
        if let Some(connection) = connection.load_full() {
            return Some(connection);
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Self::CONNECT))
            // The time-out is ours, and counts the wait for a connection.
            .set_response_timeout(None)
            .set_number_of_retries(0);
        let made = ConnectionManager::new_lazy_with_config(client.clone(), config);
        let made = made.inspect_err(|error| {
            tracing::error!(error = told(error), "Redis is not used");
        });
        let made = Arc::new(made.ok()?);
        let before = connection.compare_and_swap(&None::<Arc<_>>, Some(Arc::clone(&made)));
        // Another request may have been faster.
        Some(Option::clone(&before).unwrap_or(made))
    }

    /// Asks a Redis that was not reached at the start whether it is a cluster.
    async fn mode(&self, connection: &ConnectionManager) -> RedisResult<Mode> {
        let known = &self.inner.mode;
        if let Some(mode) = known.get() {
            return Ok(*mode);
        }
        let mode = Mode::ask(connection.clone()).await?;
        if known.set(mode).is_ok() && mode == Mode::Cluster {
            tracing::error!(error = %ClusterRejected, "Redis is not used until a restart");
        }
        Ok(mode)
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
            cluster: of("cluster"),
            opened: metrics::counter!(opened),
            duration: metrics::histogram!(duration),
        }
    }
}
