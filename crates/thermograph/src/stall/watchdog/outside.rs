//! Stalls outside of instrumented polls: a worker of the app that is kept by work of which no poll is
//! known.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::Method;
use thermograph_sampler::{Moment, Slot};

use super::{
    super::harm::{Held, Time},
    Shared, Watchdog,
};
use crate::{
    class::Class,
    handlers::{Handler, Ledger, PollId, Polling, TASK},
    workers::{Kept, Workers},
};

/// What is known of workers outside of polls.
#[derive(Debug)]
pub(super) struct Outside {
    workers: Workers,
    ledger: &'static Ledger,
    /// The row of such work; made with its first stall.
    row: Option<&'static Handler>,
    /// By worker.
    kept: HashMap<usize, PollId>,
}

/// The route of work that is not instrumented.
const NOT_INSTRUMENTED: &str = "(not instrumented)";
/// Time between two looks at a worker that may be kept.
const SOON: Duration = Duration::from_millis(1);

impl Outside {
    pub(super) fn new(ledger: &'static Ledger) -> Self {
        Self { workers: Workers::default(), ledger, row: None, kept: HashMap::new() }
    }

    #[expect(clippy::expect_used, reason = "a constant that is a legal token")]
    fn row(&mut self) -> &'static Handler {
        let ledger = self.ledger;
        self.row.get_or_insert_with(|| {
            let method = Method::from_bytes(TASK.as_bytes()).expect("a legal token");
            ledger.handler(ledger.hint(), &method, Some(NOT_INSTRUMENTED))
        })
    }
}

impl Watchdog {
    /// Looks at workers outside of polls: how long until the next look.
    pub(super) fn look_outside(&mut self, shared: &Shared) -> Duration {
        self.outside.workers.keep_up(self.overruns);
        let (kept, is_soon) = self.outside.workers.kept(self.threshold, self.overruns);
        for (shown, count) in shared.workers.iter().zip(self.outside.workers.counts()) {
            shown.store(count, Relaxed);
        }
        let mut pause = if is_soon { SOON } else { self.first_look() };
        let still: HashSet<_> = kept.iter().map(|kept| (kept.worker, kept.since)).collect();
        let is_over =
            |(worker, poll): &(&usize, &PollId)| !still.contains(&(**worker, poll.start()));
        let over: Vec<_> = self
            .outside
            .kept
            .iter()
            .filter(is_over)
            .map(|(worker, poll)| (*worker, *poll))
            .collect();
        for (worker, poll) in over {
            self.outside.kept.remove(&worker);
            self.end_outside(poll);
        }
        for kept in kept {
            pause = pause.min(self.look_at_kept(kept));
        }
        pause
    }

    fn look_at_kept(&mut self, Kept { worker, thread, since, times, task }: Kept) -> Duration {
        let handler = self.outside.row();
        let slot = Slot::apart(worker);
        let polling = Polling { slot, thread, start: since, own_start: since, handler, task };
        self.outside.kept.insert(worker, PollId::new(slot, since));
        // Its end is known by looks alone.
        self.look(polling, times.map(|times| (since, times))).min(self.first_look())
    }

    /// A worker goes on: it was kept until the last look at least.
    fn end_outside(&mut self, poll: PollId) {
        let Some(mut watched) = self.watched.remove(&poll) else { return };
        if watched.is_asked {
            self.kernel.withdraw(&mut watched);
        }
        let Some(record) = watched.record.as_ref().map(Arc::clone) else { return };
        let elapsed = watched.age();
        watched.over();
        watched.record(&self.store, elapsed, self.threshold);
        let class = {
            let mut facts = record.facts();
            facts.ended = true;
            facts.no_stack = facts.stack.is_none().then(|| self.kernel.why_no_stack(&watched));
            facts.class
        };
        if class != Class::Preempted {
            let (handler, time) = (watched.polling.handler, Time::Ended(Moment::now(), elapsed));
            self.harm.ended(Held { handler, time });
        }
        self.store.close(&record);
        self.namer.send(&record, &self.store);
    }
}
