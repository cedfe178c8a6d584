//! How well stalls are judged: ill handlers of many kinds, called in several settings.
//!
//! A *specimen* is a handler that is ill in a known way. It has a class, the system calls that it may be
//! found in, a function of its own that must be in the stack, and a row that must be blamed. A *cell* is
//! a setting: hooks or none, a number of workers, an idle machine or one with two hogs. Each cell is a
//! process of its own, since signals, timers and the hooks' tables belong to the whole process. In it
//! each specimen is called some times beside healthy handlers, and every call's stall is compared with
//! what it must be.
//!
//! `cargo test` runs three cells, in three minutes. `just specimens` runs all of them, with
//! `tokio_unstable` and without. The process ends with 1 where an aim is missed; the three cells, which run
//! on machines that have other things to do, must reach the floors below the aims.

#[cfg(target_os = "linux")]
mod app;
#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod cell;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod healthy;
#[cfg(target_os = "linux")]
mod hogs;
#[cfg(target_os = "linux")]
mod judge;
#[cfg(target_os = "linux")]
mod matrix;
#[cfg(target_os = "linux")]
mod places;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod specimen;
#[cfg(target_os = "linux")]
mod specimens;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    matrix::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("nothing is run: stacks of threads are taken on Linux only");
}
