//! Profiles: stacks with values and labels, and the formats and pictures that are made from them.
//!
//! A [`Profile`] is what every capture ends in. From it, and nothing else, come [`pprof`] files for
//! `go tool pprof` and its kin, [`folded`] stacks, and [`flamegraph`]s; [`captures`] keeps them as
//! files, and compares two of them. [`plumbing`] tells an app's own frames from those of the
//! runtime, the framework and the standard library.
//!
//! It does not know how stacks are taken, nor on what runtime the program runs.
//!
//! # Modules, from the bottom up
//!
//! - `profile`: the type.
//! - `plumbing`: which frames are machinery.
//! - `folded`, `pprof`: the forms for other programs.
//! - `flamegraph`: the picture, of one profile and of the difference of two.
//! - `captures`: names, files and differences of what was captured.

#![forbid(unsafe_code)]

pub mod captures;
pub mod flamegraph;
pub mod folded;
pub mod plumbing;
pub mod pprof;
mod profile;

pub use profile::{Frame, Location, Mapping, Profile, Sample, ValueType};
