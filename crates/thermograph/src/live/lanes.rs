//! What each worker did since the last look, and does now.
//!
//! A worker is a thread that has polled a handler. How busy it was is exact: the time of polls that
//! have ended is counted by thread, and of the one that lasts it is known when it began.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use thermograph_sampler::{Moment, Slot, thread_name};

use crate::handlers::{ByPlace, Handler, Ledger, Polling, millis, nanoseconds};

/// Every worker, from look to look.
#[derive(Debug)]
pub(super) struct Lanes {
    ledger: &'static Ledger,
    workers: HashMap<usize, Worker>,
    looked_at: Moment,
}

/// What is told of all workers.
#[derive(Debug, Serialize)]
pub(super) struct Lines {
    /// Milliseconds since 1970.
    at: f64,
    /// Milliseconds that `busy` covers.
    covers_ms: f64,
    lanes: Vec<Lane>,
}

/// What is told of a worker.
#[derive(Debug, Serialize)]
struct Lane {
    /// Number of the worker: it keeps its lane.
    id: usize,
    thread: String,
    thread_id: i32,
    /// Share of the time since the last look that it was in polls, 0 to 1.
    busy: f64,
    /// The handler that took the most of it.
    handler: Option<String>,
    /// Whether it is in a poll now.
    polling: bool,
    /// How long that poll has lasted, in milliseconds.
    age_ms: Option<f64>,
    /// Whether that is over the threshold.
    stalled: bool,
}

#[derive(Debug)]
struct Worker {
    thread: i32,
    name: String,
    /// Nanoseconds in polls of each handler, as of the last look.
    spent: HashMap<ByPlace, u64>,
}

impl Lanes {
    pub(super) fn new(ledger: &'static Ledger) -> Self {
        let mut lanes = Self { ledger, workers: HashMap::new(), looked_at: Moment::now() };
        // What was spent before is not told.
        lanes.look();
        lanes
    }

    pub(super) fn look(&mut self) -> Lines {
        let now = Moment::now();
        let covered = Duration::from_nanos(now.since(self.looked_at));
        self.looked_at = now;
        let threads: Vec<_> =
            Slot::used().filter_map(|slot| Some((slot, slot.thread()?))).collect();
        self.workers.retain(|index, worker| {
            threads.iter().any(|(slot, thread)| slot.index() == *index && *thread == worker.thread)
        });
        let lanes =
            threads.into_iter().filter_map(|(slot, thread)| self.lane(slot, thread, covered));
        let lanes = lanes.collect();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Lines { at: millis(at), covers_ms: millis(covered), lanes }
    }

    /// None where the thread has not polled a handler of this ledger.
    fn lane(&mut self, slot: Slot, thread: i32, covered: Duration) -> Option<Lane> {
        let handlers = self.ledger.handlers();
        let ended = |handler: &'static Handler| Some((ByPlace(handler), handler.polled_by(slot)?));
        let mut spent: HashMap<_, _> = handlers.filter_map(ended).collect();
        // After the sums: one that ends in between is told the next time, and none twice.
        let ours = |polling: &Polling| polling.handler.is_of(self.ledger.overruns());
        let polling = Polling::on(slot).filter(ours);
        let age = polling.map(|polling| polling.age(Moment::now()));
        if let (Some(polling), Some(age)) = (polling, age) {
            *spent.entry(ByPlace(polling.handler)).or_default() += nanoseconds(age);
        }
        let is_known = self.workers.contains_key(&slot.index());
        if spent.is_empty() && !is_known {
            return None;
        }
        let worker = self.workers.entry(slot.index()).or_insert_with(|| Worker {
            thread,
            name: thread_name(thread).unwrap_or_else(|| format!("worker {}", slot.index())),
            spent: spent.clone(),
        });
        let (busy, handler) = worker.since(spent);
        Some(Lane {
            id: slot.index(),
            thread: worker.name.clone(),
            thread_id: thread,
            busy: share(busy, covered),
            handler: handler.map(|ByPlace(handler)| format!("{handler:?}")),
            polling: polling.is_some(),
            age_ms: age.map(millis),
            stalled: age.is_some_and(|age| age >= self.ledger.overruns().threshold()),
        })
    }
}

impl Worker {
    /// What was added since the last look, and for whom the most.
    fn since(&mut self, spent: HashMap<ByPlace, u64>) -> (Duration, Option<ByPlace>) {
        let added = |(handler, spent): (&ByPlace, &u64)| {
            let before = self.spent.get(handler).copied().unwrap_or_default();
            (*handler, spent.saturating_sub(before))
        };
        let added: Vec<_> = spent.iter().map(added).filter(|(_, added)| *added > 0).collect();
        let all = added.iter().map(|(_, added)| added).sum();
        let most = added.into_iter().max_by_key(|(_, added)| *added);
        self.spent = spent;
        (Duration::from_nanos(all), most.map(|(handler, _)| handler))
    }
}

/// Of the time that was looked at; a poll may have begun before.
fn share(busy: Duration, covered: Duration) -> f64 {
    if covered.is_zero() { 0.0 } else { busy.div_duration_f64(covered).min(1.0) }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use http::Method;

    use super::*;

    /// A thread that polls as it is told, and says when it has done so.
    struct Puppet {
        orders: mpsc::SyncSender<fn(&'static Ledger)>,
    }

    impl Puppet {
        fn new(ledger: &'static Ledger) -> Self {
            let (orders, told) = mpsc::sync_channel::<fn(&'static Ledger)>(0);
            let run = move || told.iter().for_each(|order| order(ledger));
            let puppet = thread::Builder::new().name("puppet".to_owned()).spawn(run);
            drop(puppet.expect("started"));
            Self { orders }
        }

        /// Returns once it has been done: the thread comes for the next.
        fn does(&self, order: fn(&'static Ledger)) {
            self.orders.send(order).expect("it waits");
            self.orders.send(|_| ()).expect("it waits");
        }
    }

    fn handler(ledger: &'static Ledger) -> &'static Handler {
        ledger.handler(ledger.hint(), &Method::GET, Some("/a"))
    }

    #[test]
    fn a_worker_is_one_that_polls_and_its_lane_tells_of_whom() {
        let ledger = Ledger::leak(4);
        let mut lanes = Lanes::new(ledger);
        let puppet = Puppet::new(ledger);
        // It has a slot, and polls nothing of this ledger's.
        puppet.does(|_| assert!(Slot::current().index() < usize::MAX));
        assert!(lanes.look().lanes.is_empty());
        puppet.does(|ledger| {
            Slot::current().enter(handler(ledger).number(), None, Moment::now());
        });
        thread::sleep(Duration::from_millis(20));
        lanes.look();
        thread::sleep(Duration::from_millis(20));
        let seen = lanes.look();
        let [lane] = &seen.lanes[..] else { panic!("{seen:?}") };
        assert_eq!(lane.handler.as_deref(), Some("GET /a"));
        assert!(lane.polling && lane.stalled && lane.age_ms >= Some(40.0), "{lane:?}");
        assert!(lane.busy > 0.99, "{lane:?}");
        #[cfg(sampler)]
        assert_eq!(lane.thread, "puppet");
    }

    #[test]
    fn time_in_polls_is_told_once_whether_they_have_ended_or_not() {
        let handler = ByPlace(handler(Ledger::leak(2)));
        let mut worker = Worker { thread: 1, name: String::new(), spent: HashMap::new() };
        // 30 of a poll that lasts, then its end after 100, then a pause.
        for (spent, added) in [(30, 30), (100, 70), (100, 0), (140, 40)] {
            let (busy, most) = worker.since(HashMap::from([(handler, spent)]));
            assert_eq!(busy, Duration::from_nanos(added));
            assert_eq!(most.is_some(), added > 0);
        }
    }

    #[test]
    fn a_worker_that_has_ended_has_no_lane() {
        let ledger = Ledger::leak(4);
        let mut lanes = Lanes::new(ledger);
        let poll = move || {
            let shard = handler(ledger).shard(Slot::current());
            shard.poll(1);
            // It is still there.
            assert_eq!(lanes.look().lanes.len(), 1);
            lanes
        };
        let mut lanes = thread::spawn(poll).join().expect("no panic");
        assert!(lanes.look().lanes.is_empty());
    }
}
