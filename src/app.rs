//! The composition root: the only place that names both halves, and that reads the environment.

pub mod load;
pub mod model;
