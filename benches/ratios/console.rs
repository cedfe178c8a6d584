//! What tokio-console costs: compiled in while nobody is attached, and while one is.
//!
//! The subscriber is the process's, so each side is a process.

use std::time::Duration;

use crate::{
    figure::{Bound, Figure},
    layer::figures,
    rounds::Rounds,
    server::{App, pairs, prepared_pairs},
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 160, length: Duration::from_millis(250) };

/// As [`hello`](crate::hello) has them.
const OFF: App = ("console-off", 0);
const ON_ATTACH: App = ("console-on-attach", 0);

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let nobody = pairs(rounds, [OFF, ON_ATTACH])?;
    let what = "with tokio-console compiled in and not attached : without";
    let mut all = figures("console", what, Bound::AtLeast(0.98), &nobody, rounds.length);
    let attached = [
        // Tokio tells of tasks that were spawned since it attached.
        (false, Bound::AtLeast(0.8), "with tokio-console attached : without"),
        (true, Bound::None, "the same, and connections that were made since"),
    ];
    for (anew, bound, what) in attached {
        let pairs = prepared_pairs(rounds, [OFF, ON_ATTACH], |server| server.attach(anew))?;
        all.extend(figures("console", what, bound, &pairs, rounds.length));
    }
    Ok(all)
}
