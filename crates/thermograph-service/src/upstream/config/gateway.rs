//! The configuration of what stands before all upstreams.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::{
    optional as optional_duration, required as duration,
};
use serde::{Deserialize, Serialize};
use thermograph_common::Invalid;

use super::StatusRule;
use crate::{breaker::Rule, entrance::EntranceConfig};

/// How much is let in, and what is done about upstreams that fail.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Most requests at a time, streams to their end; further ones wait. Default is 1024.
    pub max_in_flight: usize,
    /// Most requests of one key at a time, if there is a store of keys; requests without a key count as those
    /// of one. Default is 0: three quarters of `max_in_flight`.
    pub max_in_flight_per_key: usize,
    /// Most requests that wait for that; further ones are answered 503. Default is 256.
    pub max_waiting: usize,
    /// Longest time that one waits; then it is answered 503. Default is 500 ms.
    #[serde(with = "duration")]
    pub queue_timeout: Duration,
    /// Most times that a request is tried again. Default is 2.
    pub retries: u32,
    /// True if a request is tried again that an upstream had and has not answered in time: it may still
    /// be worked on, and paid for. Default is false.
    pub retry_timeouts: bool,
    /// Statuses of an upstream with which a request is tried again, at another one or, after a wait, at
    /// the same: it was busy, or failed. Default is 408, 409, 425, 429 and `"5xx"`, which is all from
    /// 500 on but 501 and 505. One that stores its answer is tried again with 425 and 429 only.
    pub retry_on: Vec<StatusRule>,
    /// Statuses with which a request is tried at other upstreams, and not at the same: that key is not
    /// good or has no money left, or that model is not there. Default is 401, 402, 403 and 404. A 401 to
    /// a client's own key is the client's.
    pub elsewhere_on: Vec<StatusRule>,
    /// Requests tried again, as a share of all: what fails everywhere is not made worse. Default
    /// is 0.2.
    pub retry_budget: f64,
    /// How many may be tried again beyond that share. Default is 256.
    pub retry_reserve: u32,
    /// Wait before the first retry at most; doubled for each further one, and a random part of it
    /// taken. Default is 25 ms.
    #[serde(with = "duration")]
    pub backoff: Duration,
    /// Longest `retry-after` of an upstream that is waited for when no other can answer. Default
    /// is 1 s.
    #[serde(with = "duration")]
    pub longest_wait: Duration,
    /// Time of silence after which a stream has a comment, so that no proxy on the way takes it for
    /// dead; where the upstream has not answered at all by then, the stream begins without it, and an
    /// error is its last event. Default is never.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub stream_keep_alive: Option<Duration>,
    /// Share of an upstream's requests that must fail for its breaker to open: connections,
    /// time-outs and 5xx, not 4xx. Default is 0.5.
    pub breaker_failures: f64,
    /// Least requests on which that is judged; so many failures in a row open it in any case.
    /// Default is 5.
    pub breaker_requests: u32,
    /// Time over which they are counted. Default is 10 s.
    #[serde(with = "duration")]
    pub breaker_window: Duration,
    /// How long a breaker stays open before one request may try; doubled each time that it fails,
    /// up to 32 times that. Default is 1 s.
    #[serde(with = "duration")]
    pub breaker_open: Duration,
}

impl GatewayConfig {
    /// Checks what the types cannot say.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let field = |key: &str| format!("gateway.{key}");
        let counts = [
            ("max_in_flight", self.max_in_flight, 1, 1_000_000),
            ("max_in_flight_per_key", self.max_in_flight_per_key, 0, 1_000_000),
            ("max_waiting", self.max_waiting, 0, 1_000_000),
            ("retries", self.retries as usize, 0, 10),
            ("retry_reserve", self.retry_reserve as usize, 0, 1_000_000),
            ("breaker_requests", self.breaker_requests as usize, 1, 1_000_000),
        ];
        for (key, value, least, most) in counts {
            Invalid::unless_within(field(key), value, least..=most)?;
        }
        if self.max_in_flight_per_key > self.max_in_flight {
            let allowed = format!("at most `max_in_flight`, which is {}", self.max_in_flight);
            let value = self.max_in_flight_per_key;
            return Err(Invalid::new(field("max_in_flight_per_key"), value, allowed));
        }
        let lists = [("retry_on", &self.retry_on), ("elsewhere_on", &self.elsewhere_on)];
        for (key, list) in lists {
            if list.len() > 64 {
                return Err(Invalid::new(field(key), list.len(), "at most 64 statuses"));
            }
        }
        let shares =
            [("retry_budget", self.retry_budget), ("breaker_failures", self.breaker_failures)];
        for (key, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(Invalid::new(field(key), value, "0 to 1"));
            }
        }
        let hour = Duration::from_hours(1);
        let waits = [
            ("queue_timeout", self.queue_timeout, Duration::ZERO),
            ("backoff", self.backoff, Duration::ZERO),
            ("longest_wait", self.longest_wait, Duration::ZERO),
            ("breaker_window", self.breaker_window, Duration::from_millis(10)),
            ("breaker_open", self.breaker_open, Duration::from_millis(10)),
        ];
        for (key, value, least) in waits {
            Invalid::unless_within(field(key), value, least..=hour)?;
        }
        if let Some(every) = self.stream_keep_alive {
            let allowed = Duration::from_millis(100)..=hour;
            Invalid::unless_within(field("stream_keep_alive"), every, allowed)?;
        }
        Ok(())
    }

    /// Limits of the entrance.
    pub(crate) fn entrance(&self) -> EntranceConfig {
        let max_in_flight_per_key = match self.max_in_flight_per_key {
            // What is left is for the others.
            0 => (self.max_in_flight * 3 / 4).max(1),
            most => most,
        };
        EntranceConfig {
            max_in_flight: self.max_in_flight,
            max_in_flight_per_key,
            max_waiting: self.max_waiting,
            queue_timeout: self.queue_timeout,
        }
    }

    /// When the breaker of an upstream opens.
    pub(crate) fn breaker(&self) -> Rule {
        Rule {
            share: self.breaker_failures,
            requests: self.breaker_requests,
            window: self.breaker_window,
            open: self.breaker_open,
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 1024,
            max_in_flight_per_key: 0,
            max_waiting: 256,
            queue_timeout: Duration::from_millis(500),
            retries: 2,
            retry_timeouts: false,
            retry_on: [408, 409, 425, 429]
                .map(StatusRule::One)
                .into_iter()
                .chain([StatusRule::ServerErrors])
                .collect(),
            elsewhere_on: [401, 402, 403, 404].map(StatusRule::One).to_vec(),
            retry_budget: 0.2,
            retry_reserve: 256,
            backoff: Duration::from_millis(25),
            longest_wait: Duration::from_secs(1),
            stream_keep_alive: None,
            breaker_failures: 0.5,
            breaker_requests: 5,
            breaker_window: Duration::from_secs(10),
            breaker_open: Duration::from_secs(1),
        }
    }
}
