//! What is to be driven: whereto, what, how hard, how long.

use std::time::Duration;

use super::{Address, Traffic};

/// A run of the driver.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the service is.
    pub address: Address,
    /// What is asked of it.
    pub traffic: Traffic,
    /// Connections, each with one request on its way at a time.
    pub connections: usize,
    /// When to stop.
    pub limit: Limit,
    /// What decides when a request is sent.
    pub pace: Pace,
    /// Before measuring: how long to drive and forget it. Zero is no warm-up.
    pub warmup: Duration,
    /// Longest time a request may take, connecting included.
    pub timeout: Duration,
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// After this many requests.
    Requests(u64),
    /// After this time. What is on its way then is waited for; what was due by then in open loop
    /// and could not be sent has one more time-out to be sent.
    Time(Duration),
}

/// What decides when a request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// The answers: each connection sends when its last answer came.
    Closed,
    /// A schedule: request `n` is due `n / rate` seconds after the start.
    Open {
        /// Requests a second.
        rate: f64,
    },
}
