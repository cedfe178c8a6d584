//! The gateway between clients and upstreams, each a process or a connection of its own.

mod admission;
mod cancel;
mod drain;
mod faults;
mod overload;
mod pool;
mod reload;
mod slow;
pub(crate) mod support;
mod tls;
mod visible;
