//! An OpenAI-compatible API server that shows from the inside which handlers run hot and which block
//! the executor.
//!
//! - `service`: the API, with a local embedding engine and a gateway to other servers.
//! - `app`: the binary; the only place that names both the service and the diagnostics
//!   ([`thermograph`]).

#![forbid(unsafe_code)]

pub mod app;
mod cooperative;
pub mod service;
mod task;

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
