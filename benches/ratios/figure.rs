//! A measured figure, and the promise that it is held against.

use std::fmt;

/// What was measured, in a line, and how, in another.
#[derive(Debug)]
pub(crate) struct Figure {
    /// Name of the benchmark.
    pub(crate) name: &'static str,
    /// What the value is.
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) bound: Bound,
    /// Spread, rounds, absolute values.
    pub(crate) conditions: String,
}

/// What is promised.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
    /// Shown beside a figure that is promised.
    None,
}

impl Figure {
    pub(crate) fn is_kept(&self) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => self.value >= bound,
            Bound::AtMost(bound) => self.value <= bound,
            Bound::Below(bound) => self.value < bound,
            Bound::None => true,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, what, value, bound, conditions } = self;
        let verdict = match bound {
            Bound::None => "    ",
            _ if self.is_kept() => "PASS",
            _ => "MISS",
        };
        writeln!(f, "{name:8} {verdict} {value:7.3} {bound:8}  {what}")?;
        write!(f, "         {conditions}")
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => f.pad(&format!("(≥ {bound})")),
            Self::AtMost(bound) => f.pad(&format!("(≤ {bound})")),
            Self::Below(bound) => f.pad(&format!("(< {bound})")),
            Self::None => f.pad(""),
        }
    }
}
