//! Who suffered: handlers whose requests waited while a stall held a worker, or kept sockets from
//! being read, and whose stall it was.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::{
    handlers::{
        Arrival, DelayRow, HandlerRow, LatencyParts, LedgerReport, Quantiles,
        table::{measured, millis},
    },
    html_escape::escape,
};

/// A handler that stalls delayed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Victim {
    /// Method; `TASK` for work that is no request.
    pub method: String,
    /// Matched path; where it was spawned, for work that is no request.
    pub route: String,
    /// Requests answered.
    pub requests: u64,
    /// From when its latency counts.
    pub arrival: Arrival,
    /// Milliseconds from arrival to the response head.
    pub latency_ms: Quantiles,
    /// What these were spent with, over all requests.
    pub latency: LatencyParts,
    /// Milliseconds that requests, added up, waited while stalls lasted.
    pub delayed_ms: f64,
    /// Whose stalls these were, the longest delay first; at most five.
    pub from: Vec<Culprit>,
}

/// A handler whose stalls delayed another one.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Culprit {
    /// Method; `TASK` for work that is no request.
    pub method: String,
    /// Matched path; where it was spawned, for work that is no request.
    pub route: String,
    /// Requests and later polls that waited for it.
    pub waits: u64,
    /// Milliseconds that these waited, added up.
    pub ms: f64,
}

/// Culprits that are told of one victim.
const CULPRITS: usize = 5;
/// Victims that are told as text.
const TOLD: usize = 20;

/// Every handler that was delayed, the one that was delayed most first.
pub(super) fn of(ledger: &LedgerReport) -> Vec<Victim> {
    let mut delayed = BTreeMap::<(&str, &str), Vec<&DelayRow>>::new();
    for delay in &ledger.delays {
        delayed.entry((&delay.method, &delay.route)).or_default().push(delay);
    }
    let victims = delayed.into_iter().map(|((method, route), delays)| {
        let row = ledger.handlers.iter().find(|row| row.method == method && row.route == route);
        Victim::of(method, route, row, &delays)
    });
    let mut victims: Vec<_> = victims.collect();
    victims.sort_by(|a, b| b.delayed_ms.total_cmp(&a.delayed_ms));
    victims
}

impl Victim {
    /// Tasks that are no request have no row.
    fn of(method: &str, route: &str, row: Option<&HandlerRow>, delays: &[&DelayRow]) -> Self {
        let mut from: Vec<_> = delays.iter().map(|delay| Culprit::of(delay)).collect();
        let delayed_ms = from.iter().map(|culprit| culprit.ms).sum();
        from.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        from.truncate(CULPRITS);
        Self {
            method: method.to_owned(),
            route: route.to_owned(),
            requests: row.map_or(0, |row| row.requests),
            arrival: row.map_or(Arrival::Unknown, |row| row.arrival),
            latency_ms: row.map_or_else(Quantiles::default, |row| row.head_ms),
            latency: row.map_or_else(LatencyParts::default, |row| row.latency),
            delayed_ms,
            from,
        }
    }

    fn name(&self) -> String {
        let is_about = self.requests > 0 && self.arrival != Arrival::Measured;
        let about = if is_about { " (about)" } else { "" };
        format!("{} {}{about}", self.method, self.route)
    }

    /// Latency and its parts in milliseconds: p90, p99, and of each part the mean of a request.
    fn figures(&self) -> [f64; 7] {
        let LatencyParts { waiting_ms, cpu_ms, blocked_ms, awaiting_ms, unknown_ms, .. } =
            self.latency;
        let mean = |sum: f64| sum / self.requests.max(1) as f64;
        [
            self.latency_ms.p90,
            self.latency_ms.p99,
            mean(waiting_ms),
            mean(cpu_ms),
            mean(blocked_ms),
            mean(awaiting_ms),
            mean(unknown_ms),
        ]
    }

    /// Culprits with their shares of the delay.
    fn shares(&self) -> String {
        let share = |Culprit { method, route, ms, .. }: &Culprit| {
            format!("{method} {route} ({:.0} %)", ms / self.delayed_ms * 100.0)
        };
        self.from.iter().map(share).collect::<Vec<_>>().join(", ")
    }
}

impl Culprit {
    fn of(delay: &DelayRow) -> Self {
        Self {
            method: delay.by_method.clone(),
            route: delay.by_route.clone(),
            waits: delay.waits,
            ms: delay.ms,
        }
    }
}

const HEADS: [&str; 7] =
    ["p90 ms", "p99 ms", "waiting", "on CPU", "blocked", "awaiting", "unknown"];

/// As a table for a terminal; empty without victims.
pub(super) fn text(victims: &[Victim]) -> String {
    let told = &victims[..victims.len().min(TOLD)];
    let width = told.iter().map(|victim| victim.name().chars().count()).max();
    let Some(width) = width else { return String::new() };
    let width = width.max("delayed".len());
    let mut text = format!("\n{:width$}  {:>8}", "delayed", "requests");
    // Writing to a string cannot fail.
    for head in HEADS {
        let _ = write!(text, "  {head:>8}");
    }
    let _ = writeln!(text, "  {:>10}  by", "delayed ms");
    for victim in told {
        let _ = write!(text, "{:width$}  {:>8}", victim.name(), victim.requests);
        for figure in victim.figures() {
            let _ = write!(text, "  {:>8}", measured(figure));
        }
        let _ = writeln!(text, "  {:>10}  {}", millis(victim.delayed_ms), victim.shares());
    }
    let more = victims.len() - told.len();
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    text.push_str(
        "latency from arrival to the response head; waiting for a worker and further parts: mean of \
         a request in ms; delayed: waited while a stall held a worker, all requests\n",
    );
    text
}

/// As a table of a page; empty without victims.
pub(super) fn html(victims: &[Victim]) -> String {
    if victims.is_empty() {
        return String::new();
    }
    let cell = |text: &str| format!("<td>{}</td>", escape(text));
    let row = |victim: &Victim| {
        let figures = victim.figures().map(|figure| cell(&measured(figure))).concat();
        format!(
            "<tr>{}{}{figures}{}{}</tr>",
            cell(&victim.name()),
            cell(&victim.requests.to_string()),
            cell(&millis(victim.delayed_ms)),
            cell(&victim.shares())
        )
    };
    let rows: String = victims.iter().map(row).collect();
    let heads = HEADS.map(|head| format!("<th>{head}</th>")).concat();
    format!(
        "<h2>Delayed by stalls</h2><table><tr><th>handler</th><th>requests</th>{heads}\
         <th>delayed ms</th><th>by</th></tr>{rows}</table>"
    )
}

/// What is to be known of latency that does not count from arrival, where something blocks.
pub(super) fn note(ledger: &LedgerReport, verdicts: &[Verdict]) -> Option<String> {
    let is_blocked = verdicts.iter().any(|verdict| verdict.verdict == super::Finding::Blocking);
    let is_unknown = |row: &&HandlerRow| row.requests > 0 && row.arrival != Arrival::Measured;
    let unknown = ledger.handlers.iter().filter(is_unknown).count();
    (is_blocked && unknown > 0).then(|| {
        format!(
            "latency of {unknown} handlers does not count from a measured arrival: what requests wait \
             until a worker reads them is about right at best, and missing elsewhere; serve \
             `instance.listener(listener)`"
        )
    })
}
