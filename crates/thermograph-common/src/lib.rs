//! Building blocks that several parts of the server share; none of them knows the server.
//!
//! # Modules, from the bottom up
//!
//! - `cooperative`, `hooks`, `invalid`, `nice`, `pem`, `quota`, `task`, `units`: connections that
//!   yield, attribution of work on other threads, values that are not allowed, priorities of
//!   threads, certificates, bounds on what is held, named tasks, units.
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
