//! What the diagnostics layer and its watchdog cost a handler that does nothing else.

use std::time::Duration;

use crate::{
    figure::{Bound, Figure},
    rounds::{Pair, Ratio, Rounds, Sample, median},
    server::{App, CONNECTIONS, pairs},
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 160, length: Duration::from_millis(150) };

/// As [`hello`](crate::hello) has them.
const WATCHED: App = ("watched", 0);
const WITHOUT: App = ("plain", 0);
const IDLE: App = ("plain", 1);
const NO_WATCHDOG: App = ("plain", 2);

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let comparisons = [
        (WITHOUT, Bound::AtLeast(0.99), "layer and watchdog : the same app without"),
        // axum boxes each layer's futures and bodies, whatever the layer does.
        (IDLE, Bound::AtLeast(0.98), "layer and watchdog : a layer that does nothing"),
        (NO_WATCHDOG, Bound::None, "layer and watchdog : the layer without the watchdog"),
    ];
    let mut all = Vec::new();
    for (other, bound, what) in comparisons {
        let pairs = pairs(rounds, [other, WATCHED])?;
        all.extend(figures("layer", what, bound, &pairs, rounds.length));
    }
    Ok(all)
}

/// Throughput, and beside it the processor time, which other load on the machine moves less.
pub(crate) fn figures(
    name: &'static str,
    what: &str,
    bound: Bound,
    pairs: &[Pair],
    length: Duration,
) -> Vec<Figure> {
    let throughput = Ratio::of(pairs, Sample::per_second);
    let cpu = Ratio::of(pairs, Sample::cpu_per_request);
    let busy = median(pairs, 0, Sample::cpus);
    // The clients ask for more than it can: what it did not get, somebody else did.
    let doubt = if busy < 0.95 { ", and others on its core: do not trust this" } else { "" };
    let [without, with] = throughput.sides;
    let [cpu_without, cpu_with] = cpu.sides;
    vec![
        Figure {
            name,
            what: format!("throughput of hello over HTTP, {what}"),
            value: throughput.median(),
            bound,
            conditions: format!(
                "{}; {CONNECTIONS} connections; {without:.0} → {with:.0} requests/s; the server \
                 busy on {busy:.2} cores{doubt}",
                throughput.spread(length)
            ),
        },
        Figure {
            name,
            what: format!("the server's processor time per request, {what}"),
            value: cpu.median(),
            bound: Bound::None,
            conditions: format!("{}; {cpu_without:.2} → {cpu_with:.2} µs", cpu.spread(length)),
        },
    ]
}
