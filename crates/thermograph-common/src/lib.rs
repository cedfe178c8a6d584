//! What the parts of the server share, and no more than one of them knows.
//!
//! # Modules, from the bottom up
//!
//! - `invalid`, `nice`, `units`, `pem`, `quota`, `task`, `cooperative`: values that are not allowed, priorities of
//!   threads, units of the configuration, bounds on what is held, named tasks, connections that yield.
//! - `hooks`: attribution of work on other threads.
//! - `cpu`: threads for computations.

#![forbid(unsafe_code)]

mod cooperative;
mod cpu;
mod hooks;
mod invalid;
pub mod nice;
pub mod pem;
mod quota;
pub mod task;
pub mod units;

pub use self::{
    cooperative::Cooperative,
    cpu::{CpuError, CpuPool},
    hooks::{Hooks, WorkContext},
    invalid::{Invalid, is_name},
    quota::{Quota, Reservation},
};
