//! What the diagnostics layer costs a handler that does nothing else.
//!
//! All routers live in one process and on one runtime, so that nothing but the layer differs.

use std::time::Duration;

use crate::{
    client::{self, Clients, Requests},
    figure::{Bound, Figure},
    pin::Side,
    process::Process,
    rounds::{Pair, Ratio, Rounds, Sample, median},
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 160, length: Duration::from_millis(150) };

/// Connections, each with one request on its way.
pub(crate) const CONNECTIONS: usize = 64;

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let (process, addresses) = Process::hello("layer")?;
    let _pinned = Side::Client.pin()?;
    let connect = |address| Clients::connect(address, CONNECTIONS);
    let mut sides = addresses.into_iter().map(connect).collect::<Result<Vec<_>, _>>()?;
    let mut compare = |first: usize, second: usize| {
        let at = [first, second];
        rounds.pairs(|side, length| round(&mut sides[at[side]], &process, length))
    };
    let what = "with the diagnostics layer : without";
    let mut all = figures("layer", what, Bound::AtLeast(0.98), &compare(0, 2)?, rounds.length);
    // axum boxes each layer's futures and bodies, whatever the layer does.
    let what = "with the diagnostics layer : with a layer that does nothing";
    all.extend(figures("layer", what, Bound::AtLeast(0.98), &compare(1, 2)?, rounds.length));
    Ok(all)
}

/// One round of a hello server.
pub(crate) fn round(
    clients: &mut Clients,
    process: &Process,
    length: Duration,
) -> anyhow::Result<Sample> {
    let requests: Requests = [client::get()].into();
    let before = process.cpu_seconds()?;
    let (requests, seconds) = clients.drive(&requests, length)?;
    Ok(Sample { requests, seconds, cpu_seconds: process.cpu_seconds()? - before })
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
    let [without, with] = throughput.sides;
    let [cpu_without, cpu_with] = cpu.sides;
    vec![
        Figure {
            name,
            what: format!("throughput of hello over HTTP, {what}"),
            value: throughput.median,
            bound,
            conditions: format!(
                "{}; {CONNECTIONS} connections; {without:.0} → {with:.0} requests/s; the server \
                 busy on {busy:.2} cores",
                throughput.spread(length)
            ),
        },
        Figure {
            name,
            what: format!("the server's processor time per request, {what}"),
            value: cpu.median,
            bound: Bound::None,
            conditions: format!("{}; {cpu_without:.2} → {cpu_with:.2} µs", cpu.spread(length)),
        },
    ]
}
