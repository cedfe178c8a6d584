//! What the tests of several crates share: clients, patience, and the tools that they need.

#![forbid(unsafe_code)]

pub mod client;
pub mod console;
pub mod readers;
