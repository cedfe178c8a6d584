//! Memory by stack, in a process whose allocator is jemalloc, as in the program itself.

#![cfg(target_os = "linux")]

mod always;
mod app;
mod cumulative;
mod door;
mod profiles;
mod wire;

thermograph::jemalloc!();
