//! Who sends which request, and when it is due.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Limit, Pace};

/// Longest sleep of the pacer: how late it may notice that it is to stop.
const NAP: Duration = Duration::from_millis(50);

/// Hands out the numbers of requests until the limit or a stop.
#[derive(Debug)]
pub(crate) struct Tickets {
    start: Instant,
    pace: Pace,
    limit: Limit,
    stop: CancellationToken,
    next: AtomicU64,
    /// Requests there will be, once it is known.
    total: AtomicU64,
    /// In open loop: a permit for each request that is due and not taken.
    due: Semaphore,
}

/// Leave to send one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) number: u64,
    /// When latency begins to count: when it was due, or now in closed loop.
    pub(crate) begun: Instant,
}

impl Tickets {
    pub(crate) fn new(pace: Pace, limit: Limit, stop: CancellationToken) -> Self {
        let total = match limit {
            Limit::Requests(requests) => requests,
            Limit::Time(_) => u64::MAX,
        };
        let (next, total) = (AtomicU64::new(0), AtomicU64::new(total));
        Self { start: Instant::now(), pace, limit, stop, next, total, due: Semaphore::new(0) }
    }

    /// The next request, once it is due; none at the end.
    pub(crate) async fn next(&self) -> Option<Ticket> {
        match self.pace {
            Pace::Closed if self.stop.is_cancelled() || self.is_over(self.start.elapsed()) => None,
            Pace::Closed => Some(Ticket { number: self.take()?, begun: Instant::now() }),
            Pace::Open { rate } => {
                self.due.acquire().await.ok()?.forget();
                let number = self.take()?;
                Some(Ticket { number, begun: self.start + offset(number, rate) })
            }
        }
    }

    /// In open loop: makes requests due on the schedule, then lets the `workers` go. Blocks.
    ///
    /// A thread that sleeps: the runtime's timer is right to a few milliseconds only, which would
    /// count as latency.
    pub(crate) fn pace(&self, workers: usize) {
        let Pace::Open { rate } = self.pace else { return };
        let mut number = 0;
        while number < self.total.load(Relaxed) && !self.stop.is_cancelled() {
            let due = offset(number, rate);
            if self.is_over(due) {
                break;
            }
            match due.checked_sub(self.start.elapsed()) {
                Some(early) if !early.is_zero() => thread::sleep(early.min(NAP)),
                _ => {
                    self.due.add_permits(1);
                    number += 1;
                }
            }
        }
        self.total.store(number, Relaxed);
        self.due.add_permits(workers);
    }

    /// Lets every worker go now, whatever is still due.
    pub(crate) fn close(&self) {
        self.due.close();
    }

    /// In open loop, at the end: the numbers of requests that were due and not sent.
    pub(crate) fn unsent(&self) -> std::ops::Range<u64> {
        match self.pace {
            Pace::Closed => 0..0,
            Pace::Open { .. } => self.next.load(Relaxed)..self.total.load(Relaxed),
        }
    }

    fn take(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Relaxed);
        (number < self.total.load(Relaxed)).then_some(number)
    }

    fn is_over(&self, since_start: Duration) -> bool {
        matches!(self.limit, Limit::Time(limit) if since_start >= limit)
    }
}

/// When request `number` is due, from the start.
fn offset(number: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(pace: Pace, limit: Limit) -> Tickets {
        Tickets::new(pace, limit, CancellationToken::new())
    }

    #[test]
    fn the_schedule_is_fixed() {
        assert_eq!(offset(0, 50.0), Duration::ZERO);
        assert_eq!(offset(100, 50.0), Duration::from_secs(2));
        assert_eq!(offset(1, 0.5), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_closed_loop_ends_after_its_requests() {
        let tickets = tickets(Pace::Closed, Limit::Requests(3));
        for number in 0..3 {
            assert_eq!(tickets.next().await.map(|ticket| ticket.number), Some(number));
        }
        assert!(tickets.next().await.is_none());
        assert!(tickets.unsent().is_empty());
    }

    #[tokio::test]
    async fn an_open_loop_counts_from_when_a_request_was_due() {
        let tickets = tickets(Pace::Open { rate: 1000.0 }, Limit::Time(Duration::from_millis(5)));
        tickets.pace(1);
        // They are taken late, and are due when they were.
        for number in 0..5 {
            let ticket = tickets.next().await.expect("due");
            assert_eq!(ticket.begun - tickets.start, Duration::from_millis(number));
        }
        assert!(tickets.next().await.is_none());
        assert!(tickets.unsent().is_empty());
    }

    #[tokio::test]
    async fn what_was_due_and_not_sent_is_known() {
        let tickets = tickets(Pace::Open { rate: 1e6 }, Limit::Requests(10));
        tickets.pace(1);
        assert!(tickets.next().await.is_some());
        tickets.close();
        assert!(tickets.next().await.is_none());
        assert_eq!(tickets.unsent(), 1..10);
    }

    #[tokio::test]
    async fn a_stop_ends_both_loops() {
        for pace in [Pace::Closed, Pace::Open { rate: 1.0 }] {
            let tickets = tickets(pace, Limit::Requests(10));
            tickets.stop.cancel();
            tickets.pace(1);
            assert!(tickets.next().await.is_none());
        }
    }
}
