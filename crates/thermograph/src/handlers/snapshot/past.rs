//! What handlers counted in a row that another handler has now: it is reported in `(other)`.

use super::{Distribution, Row, Snapshot};
use crate::handlers::{
    counters::Counters,
    handler::{ANY_METHOD, OTHER},
    registry::Hands,
};

/// What a row, or several, had counted at a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past(Option<Box<Row>>);

/// How often a handler's row had changed hands, where it had.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    method: String,
    route: String,
    number: u64,
}

impl Past {
    /// All that was counted in a row.
    pub(crate) fn of(counters: &Counters) -> Self {
        Self(Some(Box::new(Row::of(ANY_METHOD.to_owned(), OTHER.to_owned(), counters, |_| {
            Vec::new()
        }))))
    }

    /// Whether no request of it is on its way.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.0.as_ref().is_none_or(|row| row.in_flight == 0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (Some(sum), Some(other)) => sum.add(other),
            (sum @ None, other) => sum.clone_from(other),
            (Some(_), None) => {}
        }
    }
}

impl Snapshot {
    /// Takes off each row what the handlers before had counted in it, and adds what handlers
    /// counted that lost theirs to `(other)`.
    pub(crate) fn settle(&mut self, hands: &Hands) {
        for (handler, number, past) in &hands.inherited {
            let (method, route) = (handler.method.to_string(), handler.route.to_string());
            let is_its = |row: &&mut Row| row.method == method && row.route == route;
            if let (Some(row), Past(Some(past))) = (self.rows.iter_mut().find(is_its), past) {
                *row = row.since(past);
                self.turns.push(Turn { method, route, number: *number });
            }
        }
        let Past(Some(past)) = &hands.past else { return };
        match self.rows.iter_mut().find(|row| row.is(past)) {
            Some(other) => other.add(past),
            None => self.rows.push(Row::clone(past)),
        }
    }

    /// The rows, each less what it was in an earlier snapshot. What handlers have counted since then
    /// that lost their row meanwhile is in `(other)`.
    pub(super) fn rows_since(&self, earlier: &Self) -> Vec<Row> {
        let lost = earlier.rows.iter().filter(|old| self.same(earlier, old).is_none());
        let lost: Vec<_> = lost.collect();
        let since = |row: &Row| {
            let old = earlier.same(self, row);
            let since = old.map_or_else(|| row.clone(), |old| row.since(old));
            // What these had counted before is in it.
            let is_other = row.method == ANY_METHOD && row.route == OTHER;
            if is_other { lost.iter().fold(since, |row, lost| row.since(lost)) } else { since }
        };
        self.rows.iter().map(since).collect()
    }

    /// The row of the same handler here, if it is the one that it has `there`.
    fn same(&self, there: &Self, row: &Row) -> Option<&Row> {
        let is_same = self.turn(row) == there.turn(row);
        self.rows.iter().find(|here| is_same && here.is(row))
    }

    fn turn(&self, row: &Row) -> u64 {
        let is_its = |turn: &&Turn| turn.method == row.method && turn.route == row.route;
        self.turns.iter().find(is_its).map_or(0, |turn| turn.number)
    }
}

impl Row {
    fn add(&mut self, other: &Self) {
        // Every field: what is not added is lost when a row changes hands.
        let Self { method: _, route: _, in_flight, counts, head, total, .. } = other;
        let Self { polls, parts, lasting, polled, busy, troubles, .. } = other;
        self.in_flight += in_flight;
        self.counts += *counts;
        self.head.add(head);
        self.total.add(total);
        self.polls.add(polls);
        self.parts += *parts;
        self.lasting.extend(lasting);
        self.polled += polled;
        self.busy += *busy;
        self.troubles += troubles.clone();
    }
}

impl Distribution {
    fn add(&mut self, other: &Self) {
        let Self { histogram, sum, max } = other;
        // All have the one configuration of timings.
        if let Ok(both) = self.histogram.wrapping_add(histogram) {
            self.histogram = both;
        }
        self.sum += *sum;
        self.max = self.max.zip(*max).map(|(one, other)| one.max(other));
    }
}
