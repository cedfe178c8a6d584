//! Values that are not allowed, in the configuration or where keys are created.

use std::{fmt, ops::RangeInclusive};

use thiserror::Error;

/// A value that the configuration does not allow.
#[derive(Debug, Error, PartialEq)]
#[error("{field}: `{value}` is not allowed: {allowed}")]
pub struct Invalid {
    /// Path of the field.
    pub field: String,
    /// The value that was given.
    pub value: String,
    /// Allowed values.
    pub allowed: String,
}

impl Invalid {
    /// Refuses a value that is out of its bounds.
    pub fn unless_within<T: Copy + PartialOrd + fmt::Debug>(
        field: impl Into<String>,
        value: T,
        allowed: RangeInclusive<T>,
    ) -> Result<(), Self> {
        if allowed.contains(&value) {
            return Ok(());
        }
        let (least, most) = allowed.into_inner();
        Err(Self::new(field, format!("{value:?}"), format!("{least:?} to {most:?}")))
    }

    /// Refuses a value; `allowed` describes the values that are allowed in its place.
    pub fn new(
        field: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), value: value.to_string(), allowed: allowed.into() }
    }
}

/// Returns whether a model may have this name: 1 to 128 bytes without control characters.
pub fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && !name.chars().any(char::is_control)
}
