//! What a run has shown.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Errors, Pace, Plan, tally::Tally};

/// What a run has shown. Requests are those measured: answered, failed, or due and not sent.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where the service is.
    pub url: String,
    /// Connections.
    pub connections: usize,
    /// Requests a second that were due; none in closed loop.
    pub rate: Option<f64>,
    /// Seconds from the start to the last answer.
    pub seconds: f64,
    /// Requests of the warm-up, which nothing else here counts.
    pub warmup_requests: u64,
    /// Everything together.
    pub total: Row,
    /// Each kind of request.
    pub kinds: Vec<Row>,
    /// Failures by kind: `connect`, `timeout`, `closed`, `status NNN`, `body`, `unsent`,
    /// `interrupted`.
    pub errors: BTreeMap<String, Errors>,
}

/// What came of some requests.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Kind of request.
    pub name: String,
    /// Requests.
    pub requests: u64,
    /// Of these, how many failed.
    pub failed: u64,
    /// Good answers a second.
    pub requests_per_second: f64,
    /// Texts embedded; 0 for other services.
    pub inputs: u64,
    /// Texts embedded a second.
    pub inputs_per_second: f64,
    /// Milliseconds to the end of a good answer.
    pub latency_ms: Latency,
}

/// Quantiles of latency in milliseconds, right within 0.1 %.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// Half are shorter.
    pub p50: f64,
    /// Nine in ten are shorter.
    pub p90: f64,
    /// All but one in a hundred are shorter.
    pub p99: f64,
    /// All but one in a thousand are shorter.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Report {
    pub(crate) fn new(plan: &Plan, tallies: &[Tally], elapsed: Duration, warmup: u64) -> Self {
        let mut total = Tally::default();
        for tally in tallies {
            total.merge(tally);
        }
        let row = |(name, tally)| Row::new(name, tally, elapsed);
        Self {
            url: plan.address.to_string(),
            connections: plan.connections,
            rate: match plan.pace {
                Pace::Closed => None,
                Pace::Open { rate } => Some(rate),
            },
            seconds: elapsed.as_secs_f64(),
            warmup_requests: warmup,
            total: Row::new("total", &total, elapsed),
            kinds: plan.traffic.names().zip(tallies).map(row).collect(),
            errors: total.errors,
        }
    }

    /// Everything in one line.
    pub(crate) fn summary(&self) -> String {
        let Row { requests, failed, requests_per_second, inputs, .. } = self.total;
        let Latency { p50, p99, max, .. } = self.total.latency_ms;
        let inputs = match inputs {
            0 => String::new(),
            _ => format!(", {:.1} inputs/s", self.total.inputs_per_second),
        };
        let failures = self
            .errors
            .iter()
            .map(|(kind, errors)| format!("; {} × {kind}: {}", errors.count, errors.example));
        let failures: String = failures.collect();
        format!(
            "load: {requests} requests, {failed} errors, {requests_per_second:.1} req/s{inputs}; \
             p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms{failures}"
        )
    }
}

impl Row {
    fn new(name: &str, tally: &Tally, elapsed: Duration) -> Self {
        let (succeeded, failed) = (tally.succeeded(), tally.failed());
        let rate = |count: u64| count as f64 / elapsed.as_secs_f64().max(1e-9);
        Self {
            name: name.to_owned(),
            requests: succeeded + failed,
            failed,
            requests_per_second: rate(succeeded),
            inputs: tally.inputs,
            inputs_per_second: rate(tally.inputs),
            latency_ms: Latency::new(&tally.latency),
        }
    }
}

impl Latency {
    fn new(micros: &Histogram<u64>) -> Self {
        let max = micros.max() as f64 / 1e3;
        // A bucket's end may lie past the longest value in it.
        let quantile = |quantile| (micros.value_at_quantile(quantile) as f64 / 1e3).min(max);
        Self {
            mean: micros.mean() / 1e3,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max,
        }
    }
}
