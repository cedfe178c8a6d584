//! Numbers within bounds, the same from a flag and from the door.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Value", into = "u64")]
pub struct Whole<const MIN: u64, const MAX: u64>(u64);

/// A share of all requests: 0 is none, 1 is all.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "Value", into = "f64")]
pub struct Share(f64);

/// A value that is not allowed.
#[derive(Debug, Error, PartialEq)]
#[error("`{value}` is not allowed: {allowed}")]
pub struct NotAllowed {
    value: String,
    allowed: String,
}

impl NotAllowed {
    /// The value as it was given, and the allowed values.
    pub(super) fn new(value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self { value: value.to_string(), allowed: allowed.into() }
    }
}

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number, of bytes or tokens in memory.
    pub(super) fn count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn not_allowed(value: impl fmt::Display) -> NotAllowed {
        NotAllowed::new(value, format!("a whole number from {MIN} to {MAX}"))
    }
}

impl Share {
    /// Throws the dice: true for so large a share of the throws.
    pub(super) fn hits(self) -> bool {
        // Nobody pays for dice that cannot fall otherwise.
        self.0 > 0.0 && (self.0 >= 1.0 || fastrand::f64() < self.0)
    }

    fn not_allowed(value: impl fmt::Display) -> NotAllowed {
        NotAllowed::new(value, "a number from 0 to 1")
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Whole<MIN, MAX> {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number));
        number.map(Self).ok_or_else(|| Self::not_allowed(text))
    }
}

impl FromStr for Share {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
        number.map(Self).ok_or_else(|| Self::not_allowed(text))
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<Value> for Whole<MIN, MAX> {
    type Error = NotAllowed;

    fn try_from(value: Value) -> Result<Self, NotAllowed> {
        match &value {
            Value::Number(number) => number.to_string().parse(),
            other => Err(Self::not_allowed(other)),
        }
    }
}

impl TryFrom<Value> for Share {
    type Error = NotAllowed;

    fn try_from(value: Value) -> Result<Self, NotAllowed> {
        match &value {
            Value::Number(number) => number.to_string().parse(),
            other => Err(Self::not_allowed(other)),
        }
    }
}

impl<const MIN: u64, const MAX: u64> From<Whole<MIN, MAX>> for u64 {
    fn from(number: Whole<MIN, MAX>) -> Self {
        number.0
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_and_the_door_have_the_same_bounds() {
        type Small = Whole<1, 10>;
        for (text, allowed) in [("1", true), ("10", true), ("0", false), ("11", false)] {
            let json = serde_json::from_str::<Small>(text).map_err(|error| error.to_string());
            let flag = text.parse::<Small>().map_err(|error| error.to_string());
            assert_eq!((json.is_ok(), &json), (allowed, &flag));
        }
        for bad in ["1.5", "-1", "\"1\"", "null", "[1]"] {
            let error = serde_json::from_str::<Small>(bad).expect_err(bad).to_string();
            assert_eq!(error, format!("`{bad}` is not allowed: a whole number from 1 to 10"));
        }
    }

    #[test]
    fn a_share_is_from_0_to_1() {
        for (text, allowed) in [("0", true), ("0.25", true), ("1", true), ("1.01", false)] {
            let json = serde_json::from_str::<Share>(text).map_err(|error| error.to_string());
            let flag = text.parse::<Share>().map_err(|error| error.to_string());
            assert_eq!((json.is_ok(), &json), (allowed, &flag));
        }
        for bad in ["nan", "inf", "-0.1", ""] {
            assert_eq!(bad.parse::<Share>(), Err(Share::not_allowed(bad)));
        }
    }

    #[test]
    fn a_share_hits_as_often_as_it_says() {
        assert!((0..1000).all(|_| !Share(0.0).hits() && Share(1.0).hits()));
        let hits = (0..100_000).filter(|_| Share(0.25).hits()).count();
        // Fifteen standard deviations.
        assert!((23_000..27_000).contains(&hits), "{hits}");
    }
}
