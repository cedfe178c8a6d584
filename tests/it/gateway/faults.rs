//! Upstreams that fail in every way there is, and what clients see of it.

mod breaker;
mod bytes;
mod cut;
mod errors;
mod hedging;
mod hung;
mod killed;
mod pool;
mod refusing;
mod retries;
mod shares;
mod slow;
mod statuses;
