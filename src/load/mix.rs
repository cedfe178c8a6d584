//! Embedding traffic: how much of which shape.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// Weights of the shapes of embedding requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mix {
    weights: [u32; 3],
}

/// Why a mix cannot be used.
#[derive(Debug, Error, PartialEq)]
pub enum BadMix {
    /// A part is not `name=weight`.
    #[error("`{0}` is not allowed: short, long or batch, `=` and a weight from 0 to 1000")]
    Part(String),
    /// A name stands twice.
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    /// Nothing has a weight.
    #[error("at least one weight must be above 0")]
    Nothing,
}

/// What an embedding request carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// A sentence.
    Short,
    /// A paragraph of about 200 tokens.
    Long,
    /// 8 to 32 sentences in one request.
    Batch,
}

impl Mix {
    /// Model that is asked unless another is given.
    pub const MODEL: &'static str = "all-MiniLM-L6-v2";

    /// Each shape with its weight.
    pub(crate) fn shapes(self) -> impl Iterator<Item = (Shape, u32)> {
        Shape::ALL.into_iter().zip(self.weights)
    }
}

impl Shape {
    const ALL: [Self; 3] = [Self::Short, Self::Long, Self::Batch];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
            Self::Batch => "batch",
        }
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self { weights: [8, 1, 1] }
    }
}

impl FromStr for Mix {
    type Err = BadMix;

    fn from_str(text: &str) -> Result<Self, BadMix> {
        let mut weights = [None; 3];
        for part in text.split(',').map(str::trim) {
            let bad = || BadMix::Part(part.to_owned());
            let (name, weight) = part.split_once('=').ok_or_else(bad)?;
            let shape = Shape::ALL.iter().position(|shape| shape.name() == name.trim());
            let shape = shape.ok_or_else(bad)?;
            let weight = weight.trim().parse().ok().filter(|weight| *weight <= 1000);
            if weights[shape].replace(weight.ok_or_else(bad)?).is_some() {
                return Err(BadMix::Twice(Shape::ALL[shape].name()));
            }
        }
        let weights = weights.map(Option::unwrap_or_default);
        if weights == [0; 3] { Err(BadMix::Nothing) } else { Ok(Self { weights }) }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [short, long, batch] = self.weights;
        write!(f, "short={short},long={long},batch={batch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(Mix::default().to_string().parse(), Ok(Mix::default()));
        assert_eq!("batch=1, short = 3".parse(), Ok(Mix { weights: [3, 0, 1] }));
    }

    #[test]
    fn names_what_is_wrong() {
        for bad in ["", "short", "short=", "short=-1", "short=1001", "brief=1", "short=1,"] {
            assert!(matches!(bad.parse::<Mix>(), Err(BadMix::Part(_))), "{bad}");
        }
        assert_eq!("long=1,long=2".parse::<Mix>(), Err(BadMix::Twice("long")));
        assert_eq!("short=0".parse::<Mix>(), Err(BadMix::Nothing));
    }
}
