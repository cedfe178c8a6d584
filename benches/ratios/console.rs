//! What tokio-console costs while it is compiled in and nobody is attached.
//!
//! The subscriber is the process's, so each side is a process.

use std::time::Duration;

use crate::{
    figure::{Bound, Figure},
    layer::figures,
    rounds::Rounds,
    server::pairs,
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 160, length: Duration::from_millis(250) };

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let pairs = pairs(rounds, [("console-off", 0), ("console-on-attach", 0)])?;
    let what = "with tokio-console compiled in and not attached : without";
    Ok(figures("console", what, Bound::AtLeast(0.98), &pairs, rounds.length))
}
