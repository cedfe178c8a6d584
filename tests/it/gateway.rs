//! The gateway between clients and upstreams, each a process or a connection of its own.

mod faults;
mod support;
