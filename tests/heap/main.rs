//! Memory by stack, in a process whose allocator is jemalloc, as in the program itself.

#![cfg(target_os = "linux")]

#[path = "../../src/allocator.rs"]
mod allocator;
mod always;
mod app;
mod cumulative;
mod door;
mod profiles;
mod wire;
