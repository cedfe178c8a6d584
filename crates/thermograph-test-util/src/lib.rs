//! Helpers that the tests of several crates share: clients, waiting with a timeout, and external
//! tools.

#![forbid(unsafe_code)]

pub mod client;
pub mod console;
pub mod readers;
