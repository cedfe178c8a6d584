//! The ledger as numbers: since the start, or between two looks.

mod past;

use std::time::Duration;

use histogram::{Quantile, SparseHistogram};
use serde::{Deserialize, Serialize};

pub(super) use self::past::Past;
use self::past::Turn;
use super::{
    counters::Counters,
    handler::Handler,
    shard::{Counts, Shard},
    timings::{Timings, Totals},
    trouble::{StallCounts, Troubles},
};

/// The ledger's counters at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    rows: Vec<Row>,
    uptime: Duration,
    overflowed: u64,
    /// Whether it is known how long tasks waited for a worker.
    knows_harm: bool,
    /// Of handlers whose row others had before.
    turns: Vec<Turn>,
}

/// What each handler has cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LedgerReport {
    /// Seconds that the report covers.
    pub seconds: f64,
    /// Handlers, the one with the most time in polls first.
    pub handlers: Vec<HandlerRow>,
    /// Requests counted in the row `(other)` because every row had a handler. What handlers had
    /// counted that lost their row is in `(other)`, too, and not in this.
    pub overflowed: u64,
}

/// What one handler has cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HandlerRow {
    /// Method, or `*` for rows that several share.
    pub method: String,
    /// Matched path, `(unmatched)` for requests that no route matched.
    pub route: String,
    /// Requests answered.
    pub requests: u64,
    /// Requests answered, by the first digit of the status: 1xx to 5xx.
    pub by_class: [u64; 5],
    /// Requests on their way now.
    pub in_flight: u64,
    /// Requests dropped before the response head: the client left, or a time-out fired.
    pub cancelled: u64,
    /// Responses dropped in the midst of their body.
    pub cut: u64,
    /// Milliseconds from the call to the response head.
    pub head_ms: Quantiles,
    /// Milliseconds from the call to the end of the body.
    pub total_ms: Quantiles,
    /// Polls of the handler's future and of its body.
    pub polls: u64,
    /// Milliseconds of a single poll.
    pub poll_ms: Quantiles,
    /// Milliseconds spent in polls: what the handler took from the runtime's workers.
    pub busy_ms: f64,
    /// Share of all handlers' time in polls, 0 to 1.
    pub busy_share: f64,
    /// Workers that the handler kept busy on average: its time in polls over the time that passed.
    pub worker_share: f64,
    /// Of the time in polls, the share on a processor or waiting for one, 0 to 1; none where the
    /// watchdog saw too few polls to tell.
    pub cpu_share: Option<f64>,
    /// Of the time in polls, the share waiting in a system call, 0 to 1; none as above.
    pub blocked_share: Option<f64>,
    /// Polls over the threshold, by whose fault they are.
    pub stalls: StallCounts,
    /// Milliseconds of stalls that are not the machine's fault.
    pub stalled_ms: f64,
    /// Milliseconds that other tasks, added up, waited for a worker while a stall of this handler
    /// held one; none where no runtime has the hooks that tell it.
    pub harm_ms: Option<f64>,
}

/// Quantiles of durations in milliseconds, right within 6.25 %.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Quantiles {
    /// Half are shorter.
    pub p50: f64,
    /// Nine in ten are shorter.
    pub p90: f64,
    /// All but one in a hundred are shorter.
    pub p99: f64,
    /// The longest: exact since the start, within 6.25 % in a window.
    pub max: f64,
}

#[derive(Clone, Debug)]
struct Row {
    method: String,
    route: String,
    in_flight: u64,
    counts: Counts,
    head: Distribution,
    total: Distribution,
    polls: Distribution,
    troubles: Troubles,
}

#[derive(Clone, Debug)]
struct Distribution {
    /// As a rule a few dozen buckets have something in them: snapshots are kept for minutes.
    histogram: SparseHistogram,
    sum: Duration,
    /// None in a window, where only the histogram knows.
    max: Option<Duration>,
}

impl Snapshot {
    pub(crate) fn take<'a>(
        rows: impl Iterator<Item = &'a Handler>,
        uptime: Duration,
        overflowed: u64,
        knows_harm: bool,
    ) -> Self {
        // Tasks have no shards, and stalls.
        let seen = |row: &&Handler| {
            row.shards().next().is_some() || row.known_trouble().now().counts().all() > 0
        };
        let rows = rows.filter(seen).map(Row::take).collect();
        Self { rows, uptime, overflowed, knows_harm, turns: Vec::new() }
    }

    /// What was added since an earlier snapshot of the same ledger.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            rows: self.rows_since(earlier),
            uptime: self.uptime.saturating_sub(earlier.uptime),
            overflowed: self.overflowed.saturating_sub(earlier.overflowed),
            knows_harm: self.knows_harm,
            turns: self.turns.clone(),
        }
    }

    /// The counters as a report; handlers without a request, a poll or a stall are left out.
    pub fn report(&self) -> LedgerReport {
        let busy: Duration = self.rows.iter().map(|row| row.polls.sum).sum();
        let is_there = |row: &HandlerRow| {
            row.polls > 0 || row.requests > 0 || row.in_flight > 0 || row.stalls.all() > 0
        };
        let rows = self.rows.iter().map(|row| row.report(self, busy));
        let mut handlers: Vec<_> = rows.filter(is_there).collect();
        handlers.sort_by(|a, b| b.busy_ms.total_cmp(&a.busy_ms));
        let seconds = self.uptime.as_secs_f64();
        LedgerReport { seconds, handlers, overflowed: self.overflowed }
    }
}

impl Row {
    fn take(handler: &Handler) -> Self {
        Self::of(handler.method.to_string(), handler.route.to_string(), handler.counters())
    }

    fn of(method: String, route: String, counters: &Counters) -> Self {
        let take = |of: fn(&Shard) -> &Timings| Distribution::take(counters.shards().map(of));
        // What has ended first: a request that ends in between must not make in-flight negative.
        let total = take(|shard| &shard.total);
        let mut counts = Counts::default();
        counters.shards().for_each(|shard| counts += shard.counts());
        Self {
            method,
            route,
            in_flight: counts.in_flight(total.count()),
            counts,
            head: take(|shard| &shard.head),
            total,
            polls: take(|shard| &shard.polls),
            troubles: counters.trouble.now(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.method == other.method && self.route == other.route
    }

    fn since(&self, old: &Self) -> Self {
        Self {
            method: self.method.clone(),
            route: self.route.clone(),
            in_flight: self.in_flight,
            counts: self.counts.since(&old.counts),
            head: self.head.since(&old.head),
            total: self.total.since(&old.total),
            polls: self.polls.since(&old.polls),
            troubles: self.troubles.since(&old.troubles),
        }
    }

    fn report(&self, of: &Snapshot, all_busy: Duration) -> HandlerRow {
        let (busy, troubles) = (self.polls.sum, &self.troubles);
        let (cpu_share, blocked_share) = troubles.shares().unzip();
        let share = |whole: Duration| {
            if whole.is_zero() { 0.0 } else { busy.div_duration_f64(whole) }
        };
        HandlerRow {
            method: self.method.clone(),
            route: self.route.clone(),
            requests: self.counts.by_class.iter().sum(),
            by_class: self.counts.by_class,
            in_flight: self.in_flight,
            cancelled: self.counts.cancelled,
            cut: self.counts.cut,
            head_ms: self.head.quantiles(),
            total_ms: self.total.quantiles(),
            polls: self.polls.count(),
            poll_ms: self.polls.quantiles(),
            busy_ms: millis(busy),
            busy_share: share(all_busy),
            worker_share: share(of.uptime),
            cpu_share,
            blocked_share,
            stalls: troubles.counts(),
            stalled_ms: millis(troubles.stalled()),
            harm_ms: of.knows_harm.then(|| millis(troubles.harm)),
        }
    }
}

impl Distribution {
    fn take<'a>(timings: impl Iterator<Item = &'a Timings>) -> Self {
        let Totals { histogram, sum_ns, max_ns } = Totals::of(timings);
        let max = Some(Duration::from_nanos(max_ns));
        let histogram = SparseHistogram::from(&histogram);
        Self { histogram, sum: Duration::from_nanos(sum_ns), max }
    }

    fn since(&self, old: &Self) -> Self {
        Self {
            // Both have the one configuration that all timings share, and counters only grow.
            histogram: self
                .histogram
                .checked_sub(&old.histogram)
                .unwrap_or_else(|_| self.histogram.clone()),
            sum: self.sum.saturating_sub(old.sum),
            max: None,
        }
    }

    fn count(&self) -> u64 {
        self.histogram.count().iter().sum()
    }

    fn quantiles(&self) -> Quantiles {
        const WANTED: [f64; 4] = [0.5, 0.9, 0.99, 1.0];
        let Ok(Some(found)) = self.histogram.quantiles(&WANTED) else {
            return Quantiles::default();
        };
        let [p50, p90, p99, top] = WANTED.map(|wanted| {
            let bucket = Quantile::new(wanted).ok().and_then(|wanted| found.get(&wanted));
            bucket.map_or(0.0, |bucket| millis(Duration::from_nanos(bucket.end())))
        });
        let max = self.max.map_or(top, millis);
        // A bucket's end may lie past the longest value in it.
        Quantiles { p50: p50.min(max), p90: p90.min(max), p99: p99.min(max), max }
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::diagnostics::watch::{Overruns, Slot};

    fn handler() -> Handler {
        let overruns = Box::leak(Box::new(Overruns::new(Duration::from_secs(1))));
        let handler = Handler::new(Method::GET, "/a", overruns);
        handler.shard(Slot::current()).start();
        handler
    }

    fn snapshot(handler: &Handler) -> Snapshot {
        Snapshot::take([handler].into_iter(), Duration::from_secs(1), 0, false)
    }

    #[test]
    fn a_report_has_the_longest_poll_exactly() {
        let handler = handler();
        for millis in [1, 2, 3, 250] {
            handler.shard(Slot::current()).poll(millis * 1_000_000);
        }
        let row = &snapshot(&handler).report().handlers[0];
        assert_eq!((row.polls, row.busy_ms, row.poll_ms.max), (4, 256.0, 250.0));
        assert!((2.0..=2.2).contains(&row.poll_ms.p50), "{row:?}");
        assert!((row.busy_share - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_window_has_only_what_came_in_it() {
        let handler = handler();
        handler.shard(Slot::current()).poll(9_000_000_000);
        let earlier = snapshot(&handler);
        handler.shard(Slot::current()).poll(5_000_000);
        let row = &snapshot(&handler).since(&earlier).report().handlers[0];
        assert_eq!(row.polls, 1);
        assert!((5.0..=5.4).contains(&row.poll_ms.max), "{row:?}");
    }
}
