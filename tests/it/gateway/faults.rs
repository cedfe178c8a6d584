//! Upstreams that fail in every way there is, and what clients see of it.

mod killed;
