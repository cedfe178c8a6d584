//! The program as its users meet it: started as a process, spoken to over the network.

mod captures;
mod clinic;
mod configuration;
mod console;
mod diagnose;
mod diagnostics;
mod diff;
mod doctor;
mod engine;
mod flags;
mod flamegraph;
mod gateway;
mod lifecycle;
mod load;
mod mock;
mod model;
mod mount;
mod openai;
mod page;
mod parameters;
mod perf;
mod pprof;
mod service;
mod store;
mod support;
mod tasks;
