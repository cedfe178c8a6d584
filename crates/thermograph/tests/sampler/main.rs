//! Stacks and stalls, in a process of their own: signals, timers and memory belong to all of it.

#![cfg(target_os = "linux")]

mod app;
mod arrival;
mod captures;
mod churn;
mod contract;
mod diagnosis;
mod door;
mod go;
mod guard;
mod handler;
mod hogs;
mod lasting;
mod locks;
mod memory;
mod missed;
mod neighbors;
mod outside;
mod pool;
mod pprof_crate;
mod readers;
mod specimens;
mod stalls;
mod system_calls;
mod tasks;
mod totals;
mod trace;
