//! The gateway between clients and upstreams, each a process or a connection of its own.

mod admission;
mod bases;
mod cancel;
mod dialects;
mod drain;
mod endpoints;
mod faults;
mod keep_alive;
mod overload;
mod pool;
mod providers;
mod proxies;
mod reload;
mod routing;
mod slow;
pub(crate) mod support;
mod tls;
mod visible;
