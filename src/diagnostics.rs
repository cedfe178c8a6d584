//! The diagnostics.
