//! **thermograph** shows from the inside which handlers of an Axum app run hot and which block
//! the executor.
//!
//! Two halves that do not know each other, and a composition root:
//!
//! - `diagnostics` (feature `diagnostics`): knows Tokio, Tower and Axum; mounts in anyone's app.
//! - `service` (feature `service`): an OpenAI-compatible API with a local embedding engine.
//! - `app` (feature `server`, the default): the binary; the only place that names both.

#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "service")]
mod cooperative;
#[cfg(any(feature = "diagnostics", feature = "service"))]
mod cross_site;
#[cfg(feature = "diagnostics")]
pub mod diagnostics;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "service")]
mod task;

/// Compiles the README's examples.
#[cfg(all(doctest, feature = "diagnostics"))]
#[doc = include_str!("../README.md")]
struct Readme;
