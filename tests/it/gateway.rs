//! The gateway between clients and upstreams, each a process or a connection of its own.

mod admission;
mod bases;
mod cancel;
mod drain;
mod faults;
mod overload;
mod pool;
mod reload;
mod routing;
mod slow;
pub(crate) mod support;
mod tls;
mod visible;
