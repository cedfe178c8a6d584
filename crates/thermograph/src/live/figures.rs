//! What each handler costs: over the last second, and over the last minute.

use serde::Serialize;

use crate::{
    handlers::{Arrival, HandlerRow, Holding, LedgerReport, Snapshot, millis},
    history::Back,
    instance::Instance,
};

/// The ledger from look to look.
#[derive(Debug)]
pub(super) struct Figures {
    instance: Instance,
    /// As of the last look.
    before: Option<Snapshot>,
}

/// What is told of all handlers.
#[derive(Debug, Serialize)]
pub(super) struct Sheet {
    /// Seconds since the last look.
    seconds: Option<f64>,
    /// Seconds of the longer window: a minute, or less where the start is not so long ago.
    window_seconds: f64,
    /// Milliseconds from which a poll is a stall.
    threshold_ms: f64,
    /// Requests in the row `(other)`, since there are more handlers than rows.
    overflowed: u64,
    /// The one with the most time in polls first.
    handlers: Vec<Row>,
}

/// What is told of one.
#[derive(Debug, Serialize)]
struct Row {
    method: String,
    route: String,
    in_flight: u64,
    /// From when the latency counts.
    arrival: Arrival,
    /// Workers that its stalls hold now.
    holding: Holding,
    /// Since the last look; none where nothing came.
    now: Option<Cost>,
    /// Over the longer window.
    window: Cost,
}

#[derive(Debug, Serialize)]
struct Cost {
    requests_per_second: f64,
    /// Workers kept busy on average.
    workers: f64,
    /// Milliseconds of the longest poll.
    longest_ms: f64,
    /// Milliseconds from arrival to the response head that all but one in a hundred kept.
    p99_ms: f64,
    /// Stalls that are not the machine's fault.
    stalls: u64,
    /// Milliseconds that others waited for it; none where that is not known.
    harm_ms: Option<f64>,
}

impl Figures {
    pub(super) fn new(instance: &Instance) -> Self {
        Self { instance: instance.clone(), before: None }
    }

    pub(super) fn look(&mut self) -> Sheet {
        let snapshot = self.instance.ledger().snapshot();
        let now = self.before.as_ref().map(|before| snapshot.since(before).report());
        let minute = match self.instance.history.before(Back::Minute) {
            Some(before) => snapshot.since(&before.ledger).report(),
            None => snapshot.report(),
        };
        self.before = Some(snapshot);
        let row = |row: &HandlerRow| Row {
            method: row.method.clone(),
            route: row.route.clone(),
            in_flight: row.in_flight,
            arrival: row.arrival,
            holding: row.holding,
            now: now.as_ref().and_then(|now| cost_in(now, row)),
            window: Cost::of(row, minute.seconds),
        };
        let threshold = self.instance.ledger().overruns().threshold();
        Sheet {
            seconds: now.as_ref().map(|now| now.seconds),
            window_seconds: minute.seconds,
            threshold_ms: millis(threshold),
            overflowed: minute.overflowed,
            handlers: minute.handlers.iter().map(row).collect(),
        }
    }
}

fn cost_in(report: &LedgerReport, of: &HandlerRow) -> Option<Cost> {
    let is_it = |row: &&HandlerRow| row.method == of.method && row.route == of.route;
    report.handlers.iter().find(is_it).map(|row| Cost::of(row, report.seconds))
}

impl Cost {
    fn of(row: &HandlerRow, seconds: f64) -> Self {
        Self {
            requests_per_second: row.requests as f64 / seconds.max(1e-3),
            workers: row.worker_share,
            longest_ms: row.poll_ms.max,
            p99_ms: row.head_ms.p99,
            stalls: row.stalls.own(),
            harm_ms: row.harm_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use thermograph_sampler::Slot;

    use super::*;
    use crate::{Thermograph, config::ConsoleMode, handlers::Parts};

    #[test]
    fn the_first_look_tells_the_window_and_the_next_one_what_came_since() {
        let thermograph = Thermograph::builder().console(ConsoleMode::Off).build();
        let thermograph = thermograph.expect("valid");
        let ledger = thermograph.ledger();
        let shard = ledger.handler(ledger.hint(), &Method::GET, Some("/a")).shard(Slot::current());
        let request = || {
            shard.start();
            shard.poll(7_000_000);
            shard.answer(http::StatusCode::OK, 7_000_000, Parts::default());
            shard.end(7_000_000);
        };
        request();
        let mut figures = Figures::new(&thermograph.instance);
        let first = figures.look();
        assert!(first.seconds.is_none() && first.handlers[0].now.is_none(), "{first:?}");
        assert!((first.handlers[0].window.longest_ms - 7.0).abs() < 1e-9, "{first:?}");
        request();
        let second = figures.look();
        let [row] = &second.handlers[..] else { panic!("{second:?}") };
        let seconds = second.seconds.expect("since the first");
        let now = row.now.as_ref().expect("a request came");
        assert!((now.requests_per_second * seconds.max(1e-3) - 1.0).abs() < 1e-9, "{second:?}");
        assert_eq!((row.route.as_str(), row.in_flight), ("/a", 0));
        let third = figures.look();
        assert!(third.handlers[0].now.is_none(), "{third:?}");
    }
}
