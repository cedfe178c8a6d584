//! The configuration of what stands before all upstreams.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};

use crate::service::{Invalid, breaker::Rule};

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
        Ok(())
    }

    /// Most requests of one key at a time.
    pub(crate) fn per_key(&self) -> usize {
        match self.max_in_flight_per_key {
            // What is left is for the others.
            0 => (self.max_in_flight * 3 / 4).max(1),
            most => most,
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
            retry_budget: 0.2,
            retry_reserve: 256,
            backoff: Duration::from_millis(25),
            longest_wait: Duration::from_secs(1),
            breaker_failures: 0.5,
            breaker_requests: 5,
            breaker_window: Duration::from_secs(10),
            breaker_open: Duration::from_secs(1),
        }
    }
}
