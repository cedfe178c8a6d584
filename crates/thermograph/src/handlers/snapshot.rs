//! The ledger as numbers: since the start, or between two looks.

mod past;

use std::{ptr, time::Duration};

use histogram::{Histogram, Quantile, SparseHistogram};
use serde::{Deserialize, Serialize};

pub(crate) use self::past::Past;
use thermograph_sampler::{Moment, Slot};

use self::past::Turn;
use super::polling::Polling;
use super::{
    counters::Counters,
    delays::{Delay, Delayed},
    handler::{ByPlace, Handler},
    overrun::Overruns,
    shard::{Counts, Parts, Shard},
    timings::{Timings, Totals},
    trouble::{Holding, StallCounts, Troubles, Wait, nanoseconds},
};
use crate::class::Class;

/// The ledger's counters at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    rows: Vec<Row>,
    uptime: Duration,
    overflowed: u64,
    /// Length from which a poll is a stall.
    threshold: Duration,
    /// How often the watchdog looked at what all threads do.
    glances: u64,
    /// Whether it is known how long tasks waited for a worker.
    knows_harm: bool,
    /// Of handlers whose row others had before.
    turns: Vec<Turn>,
    delayed: Delayed,
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
    /// Milliseconds from which a poll is a stall.
    #[serde(default)]
    pub threshold_ms: f64,
    /// Whom stalls delayed, the longest delay first.
    pub delays: Vec<DelayRow>,
    /// Milliseconds of delays between pairs of handlers past the bound of [`delays`](Self::delays).
    pub unlisted_delay_ms: f64,
}

/// How long requests and tasks of one handler waited while stalls of another one held a worker.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DelayRow {
    /// Method of the handler that waited; `TASK` for work that is no request.
    pub method: String,
    /// Its matched path.
    pub route: String,
    /// Method of the handler that held the worker.
    pub by_method: String,
    /// Its matched path.
    pub by_route: String,
    /// Requests and later polls that waited.
    pub waits: u64,
    /// Milliseconds that they waited, added up. Where several stalls lasted, each has an equal part.
    pub ms: f64,
}

/// From when latency counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrival {
    /// From when the kernel received the request, in 99 of 100 requests at least.
    Measured,
    /// From the first poll, or from when the connection's task was ready, where hooks tell that; of
    /// requests that came right after a stall, from where they may have arrived while it lasted.
    /// About right for sums and quantiles, not for a single request.
    Estimated,
    /// From the first poll, or from when the connection's task was ready, where hooks tell that: the
    /// wait before that is not in it.
    #[default]
    Unknown,
}

/// Milliseconds from the arrival of requests to their response heads, added up, by what they were
/// spent with. The parts add up to the whole.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LatencyParts {
    /// All of it.
    pub whole_ms: f64,
    /// Waiting for a worker: from arrival to the first poll, and, where hooks tell it, from when the
    /// task was ready to a later poll.
    pub waiting_ms: f64,
    /// In polls, on a processor or waiting for one.
    pub cpu_ms: f64,
    /// In polls, blocked in a system call. Polls are divided in these two by samples of all polls of
    /// the handler, or else by the class of its stalls.
    pub blocked_ms: f64,
    /// Between polls: what the handler waits for with `.await`.
    pub awaiting_ms: f64,
    /// The rest: polls that are too short or too few to be divided, and time between polls in which
    /// a worker was held and no hooks tell whether the task was ready.
    pub unknown_ms: f64,
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
    /// Milliseconds from arrival to the response head.
    pub head_ms: Quantiles,
    /// Milliseconds from arrival to the end of the body.
    pub total_ms: Quantiles,
    /// From when these count.
    pub arrival: Arrival,
    /// Requests answered whose arrival was measured.
    pub measured: u64,
    /// Requests answered whose wait is an estimate.
    pub estimated: u64,
    /// What the time to the response head was spent with.
    pub latency: LatencyParts,
    /// Polls of the handler's future and of its body; those over the threshold also while they last,
    /// and of tasks that it spawned.
    pub polls: u64,
    /// Milliseconds of a single poll.
    pub poll_ms: Quantiles,
    /// Milliseconds spent in polls: what the handler took from the runtime's workers. Of a poll over
    /// the threshold it is the part that lies in the window, whether it has ended or lasts.
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
    /// System calls that it waits in, in stalls and in shorter polls, the one with the most time
    /// first; empty if the watchdog saw too few waits to tell. Page faults are not in it.
    #[serde(default)]
    pub waits: Vec<Wait>,
    /// Polls over the threshold, by whose fault they are: those that ended, or last at the end.
    pub stalls: StallCounts,
    /// Milliseconds of stalls that are not the machine's fault: the part that lies in the window.
    pub stalled_ms: f64,
    /// Of `stalled_ms`, milliseconds of stalls of an unknown class.
    #[serde(default)]
    pub unknown_ms: f64,
    /// Workers that stalls of the handler hold at the end of the window.
    #[serde(default)]
    pub holding: Holding,
    /// Milliseconds that requests and tasks, added up, waited for a worker while a stall of this
    /// handler held one; none where neither a listener nor a runtime's hooks tell it.
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
    /// The longest: exact since the start and of a poll that lasts, within 6.25 % in a window.
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
    parts: Parts,
    /// Polls over the threshold that last, since they began.
    lasting: Vec<Duration>,
    /// Polls that ended, and those.
    polled: u64,
    /// Time in polls that ended, and in those.
    busy: Duration,
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
        overruns: &Overruns,
        knows_harm: bool,
        delayed: Delayed,
    ) -> Self {
        let (threshold, glances) = (overruns.threshold(), overruns.glances());
        // Tasks have no shards, and stalls.
        let seen = |row: &&Handler| {
            row.shards().next().is_some() || row.known_trouble().now().counts().all() > 0
        };
        let rows = rows.filter(seen).map(|handler| Row::take(handler, threshold)).collect();
        Self {
            rows,
            uptime,
            overflowed,
            threshold,
            glances,
            knows_harm,
            turns: Vec::new(),
            delayed,
        }
    }

    /// What was added since an earlier snapshot of the same ledger.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            rows: self.rows_since(earlier),
            uptime: self.uptime.saturating_sub(earlier.uptime),
            overflowed: self.overflowed.saturating_sub(earlier.overflowed),
            threshold: self.threshold,
            glances: self.glances - earlier.glances,
            knows_harm: self.knows_harm,
            turns: self.turns.clone(),
            delayed: self.delayed.since(&earlier.delayed),
        }
    }

    /// The counters as a report; handlers without a request, a poll or a stall are left out.
    pub fn report(&self) -> LedgerReport {
        let busy: Duration = self.rows.iter().map(Row::busy).sum();
        let is_there = |row: &HandlerRow| {
            // One that was cancelled or cut may have had no poll since the earlier snapshot.
            let requests = row.requests + row.in_flight + row.cancelled + row.cut;
            row.polls > 0 || requests > 0 || row.stalls.all() > 0
        };
        let rows = self.rows.iter().map(|row| row.report(self, busy));
        let mut handlers: Vec<_> = rows.filter(is_there).collect();
        handlers.sort_by(|a, b| b.busy_ms.total_cmp(&a.busy_ms));
        let mut delays: Vec<_> = self.delayed.pairs.iter().map(DelayRow::of).collect();
        delays.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        LedgerReport {
            seconds: self.uptime.as_secs_f64(),
            handlers,
            overflowed: self.overflowed,
            threshold_ms: millis(self.threshold),
            delays,
            unlisted_delay_ms: millis(self.delayed.unlisted),
        }
    }
}

impl DelayRow {
    fn of((ByPlace(waited), ByPlace(held), delay): &(ByPlace, ByPlace, Delay)) -> Self {
        Self {
            method: waited.method.to_string(),
            route: waited.route.to_string(),
            by_method: held.method.to_string(),
            by_route: held.route.to_string(),
            waits: delay.waits,
            ms: millis(delay.length),
        }
    }
}

impl LatencyParts {
    /// `whole` is the sum of all requests' times; `shares` are those of polls on a processor and
    /// blocked.
    fn of(whole: Duration, parts: Parts, troubles: &Troubles) -> Self {
        let part = |left: &mut Duration, ns: u64| {
            // Counters are read one after the other, while they change.
            let part = Duration::from_nanos(ns).min(*left);
            *left -= part;
            part
        };
        let mut left = whole;
        let waiting = part(&mut left, parts.waiting);
        let mut polled = part(&mut left, parts.polled);
        let unsure = part(&mut left, parts.unsure);
        let (cpu_ns, blocked_ns) = if let Some((cpu, _)) = troubles.shares() {
            // What is rounded away is blocked.
            (nanoseconds(polled.mul_f64(cpu)), u64::MAX)
        } else {
            let stalled = |class| nanoseconds(troubles.stalled_as(class));
            (stalled(Class::Cpu), stalled(Class::Blocked))
        };
        let cpu = part(&mut polled, cpu_ns);
        let blocked = part(&mut polled, blocked_ns);
        Self {
            whole_ms: millis(whole),
            waiting_ms: millis(waiting),
            cpu_ms: millis(cpu),
            blocked_ms: millis(blocked),
            awaiting_ms: millis(left),
            unknown_ms: millis(unsure + polled),
        }
    }
}

impl Row {
    fn take(handler: &Handler, threshold: Duration) -> Self {
        let (method, route) = (handler.method.to_string(), handler.route.to_string());
        let lasting = |counters: &Counters| lasting(counters, threshold);
        Self::of(method, route, handler.counters(), lasting)
    }

    fn of(
        method: String,
        route: String,
        counters: &Counters,
        lasting: impl FnOnce(&Counters) -> Vec<Duration>,
    ) -> Self {
        let take = |of: fn(&Shard) -> &Timings| Distribution::take(counters.shards().map(of));
        // What has ended first: a request that ends in between must not make in-flight negative.
        let total = take(|shard| &shard.total);
        let mut counts = Counts::default();
        let mut parts = Parts::default();
        counters.shards().for_each(|shard| {
            counts += shard.counts();
            parts += shard.parts();
        });
        let polls = take(|shard| &shard.polls);
        let troubles = counters.trouble.now();
        // After those that have ended: one that ends in between is not counted twice.
        let lasting = lasting(counters);
        let (polled, busy) = counters.trouble.at_least(
            polls.count() + lasting.len() as u64,
            polls.sum + lasting.iter().sum::<Duration>(),
        );
        Self {
            method,
            route,
            in_flight: counts.in_flight(total.count()),
            counts,
            head: take(|shard| &shard.head),
            total,
            polls,
            parts,
            lasting,
            polled,
            busy,
            troubles,
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
            parts: self.parts.since(&old.parts),
            lasting: self.lasting.clone(),
            // One that lasts at both ends is a poll of this window too.
            polled: self.polled.saturating_sub(old.polled) + old.lasting.len() as u64,
            busy: self.busy.saturating_sub(old.busy),
            troubles: self.troubles.since(&old.troubles),
        }
    }

    fn arrival(&self) -> Arrival {
        let answered = self.head.count();
        let is_measured = answered > 0 && self.parts.measured * 100 >= answered * 99;
        match self.parts.estimated {
            _ if is_measured => Arrival::Measured,
            0 => Arrival::Unknown,
            _ => Arrival::Estimated,
        }
    }

    /// Time in polls. That of a stall that a nested poll hides is known of the stall alone.
    fn busy(&self) -> Duration {
        self.busy.max(self.troubles.stalled())
    }

    /// The longest poll over the threshold that lasts or is a stall, by the slots or by the watchdog.
    fn longest_stall(&self) -> Duration {
        let seen = self.lasting.iter().copied().max().unwrap_or_default();
        // Polls of work outside of handlers are counted nowhere, those of a task without a row of its
        // own in another row than its stalls.
        seen.max(self.troubles.longest_lasting()).max(self.troubles.longest_ended())
    }

    fn report(&self, of: &Snapshot, all_busy: Duration) -> HandlerRow {
        let (busy, troubles) = (self.busy(), &self.troubles);
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
            arrival: self.arrival(),
            measured: self.parts.measured,
            estimated: self.parts.estimated,
            latency: LatencyParts::of(self.head.sum, self.parts, troubles),
            polls: self.polled.max(troubles.counts().all()),
            poll_ms: self.polls.with(&self.lasting).quantiles().at_least(self.longest_stall()),
            busy_ms: millis(busy),
            busy_share: share(all_busy),
            worker_share: share(of.uptime),
            cpu_share,
            blocked_share,
            waits: troubles.waits(of.glances),
            stalls: troubles.counts(),
            stalled_ms: millis(troubles.stalled()),
            unknown_ms: millis(troubles.stalled_by(Class::Unknown)),
            holding: troubles.holding(),
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

    /// With durations that are not over yet.
    fn with(&self, lasting: &[Duration]) -> Self {
        let mut all = self.clone();
        if !lasting.is_empty() {
            let mut histogram = Histogram::from(&self.histogram);
            for duration in lasting {
                add(&mut histogram, *duration);
            }
            all.histogram = SparseHistogram::from(&histogram);
        }
        let longest = lasting.iter().max().copied();
        all.max = self.max.map(|max| longest.map_or(max, |longest| longest.max(max)));
        all
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

impl Quantiles {
    /// With a longest that may be too long for the histogram, or not be in it.
    fn at_least(self, longest: Duration) -> Self {
        Self { max: self.max.max(millis(longest)), ..self }
    }
}

/// Polls over the threshold that last, of handlers that count in a row.
fn lasting(counters: &Counters, threshold: Duration) -> Vec<Duration> {
    let polls = Slot::used().filter_map(Polling::on);
    let own = polls.filter(|polling| ptr::eq(polling.handler.counters(), counters));
    own.map(|polling| polling.age(Moment::now())).filter(|age| *age >= threshold).collect()
}

/// Adds a duration to a histogram of [`Timings`].
fn add(histogram: &mut Histogram, duration: Duration) {
    let longest = (1 << histogram.config().max_value_power()) - 1;
    // What is longer counts as that, so that there is a bucket for every value.
    let _ = histogram.increment(nanoseconds(duration).min(longest));
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use http::Method;
    use thermograph_sampler::{Activity, Slot};

    use super::*;
    use crate::handlers::trouble::Trouble;

    fn handler() -> Handler {
        let overruns = Box::leak(Box::new(Overruns::new(Duration::from_secs(1))));
        let handler = Handler::new(Method::GET, "/a", overruns);
        handler.shard(Slot::current()).start();
        handler
    }

    fn snapshot(handler: &Handler) -> Snapshot {
        let (uptime, delayed) = (Duration::from_secs(1), Delayed::default());
        Snapshot::take([handler].into_iter(), uptime, 0, handler.overruns, false, delayed)
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
    fn parts_of_latency_add_up_to_the_whole() {
        let ms = 1_000_000;
        let whole = Duration::from_millis(100);
        let parts = |parts: Parts, troubles: &Troubles| LatencyParts::of(whole, parts, troubles);
        let parts_of =
            Parts { measured: 1, estimated: 0, waiting: 50 * ms, polled: 20 * ms, unsure: 10 * ms };
        let untold = parts(parts_of, &Troubles::default());
        assert_eq!((untold.waiting_ms, untold.awaiting_ms, untold.unknown_ms), (50.0, 20.0, 30.0));
        let trouble = Trouble::default();
        trouble.stall(Class::Blocked, Duration::from_millis(15));
        let stalled = parts(parts_of, &trouble.now());
        assert_eq!((stalled.blocked_ms, stalled.cpu_ms, stalled.unknown_ms), (15.0, 0.0, 15.0));
        for look in 0..8 {
            trouble.seen(if look < 2 { Activity::Waiting(None) } else { Activity::Running });
        }
        let seen = parts(parts_of, &trouble.now());
        assert_eq!((seen.blocked_ms, seen.cpu_ms, seen.unknown_ms), (5.0, 15.0, 10.0));
        // Counters that were read a moment later than the whole.
        let torn = Parts { waiting: 90 * ms, polled: 90 * ms, ..parts_of };
        for of in [untold, stalled, seen, parts(torn, &trouble.now())] {
            let LatencyParts { waiting_ms, cpu_ms, blocked_ms, awaiting_ms, unknown_ms, .. } = of;
            let all = [waiting_ms, cpu_ms, blocked_ms, awaiting_ms, unknown_ms];
            assert!(all.iter().all(|part| *part >= 0.0), "{of:?}");
            assert!((all.iter().sum::<f64>() - 100.0).abs() < 1e-9, "{of:?}");
        }
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
