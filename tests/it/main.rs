//! The program as its users meet it: started as a process, spoken to over the network.

mod configuration;
mod console;
mod diagnose;
mod diagnostics;
mod diff;
mod engine;
mod flamegraph;
mod lifecycle;
mod load;
mod model;
mod mount;
mod openai;
mod pprof;
mod service;
mod support;
mod tasks;
