//! What stalls do to others: how long requests and tasks waited for a worker while one held it.
//!
//! A wait is compared with the stalls that lasted meanwhile. Where several did, each has an equal
//! part of the time in which they overlap, so that the harm of all adds up to the time waited.

use std::{collections::VecDeque, time::Duration};

use thermograph_sampler::Moment;

use crate::handlers::{Handler, Learnt, Ledger, Waited, nanoseconds};

/// Finds out whose fault waits are.
#[derive(Debug)]
pub(super) struct Harm {
    ledger: &'static Ledger,
    /// Stalls that have ended, the oldest first.
    ended: VecDeque<Held>,
    /// Waits whose stalls may not all be known yet.
    waits: VecDeque<Waited>,
    /// As of when the ledger was told to learn last.
    learnt: Option<Learnt>,
    learnt_at: Moment,
}

/// A worker that a stall held, or holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) handler: &'static Handler,
    pub(super) time: Time,
}

/// When that is or was. A poll inside of another one holds the worker itself: its time is left out,
/// as if the outer one had begun later.
#[derive(Clone, Copy, Debug)]
pub(super) enum Time {
    /// It lasts, since then.
    Since(Moment),
    /// It ended then, after so long.
    Ended(Moment, Duration),
}

/// A stretch of time, by how many nanoseconds ago it began and ended.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Past {
    from: u64,
    to: u64,
}

/// Stalls that are remembered after their end, at most so many and so long. Who waited longer
/// waited for more than these.
const REMEMBERED: usize = 1024;
const REMEMBER: Duration = Duration::from_secs(30);
/// Time over which the rate of requests is learnt.
const LEARN: Duration = Duration::from_millis(200);

impl Harm {
    pub(super) fn new(ledger: &'static Ledger) -> Self {
        Self {
            ledger,
            ended: VecDeque::new(),
            waits: VecDeque::new(),
            learnt: None,
            learnt_at: Moment::now(),
        }
    }

    /// A stall has ended.
    pub(super) fn ended(&mut self, held: Held) {
        if self.ended.len() >= REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(held);
    }

    /// Has the ledger learn how many requests arrive, for the estimate of what they wait.
    pub(super) fn learn(&mut self) {
        let now = Moment::now();
        if u128::from(now.since(self.learnt_at)) >= LEARN.as_nanos() {
            self.learnt_at = now;
            self.ledger.learn(&mut self.learnt);
        }
    }

    /// Charges what was waited; `lasting` are the stalls that last.
    ///
    /// A poll that is too long is known as such after `settled`: until then a wait is not charged.
    pub(super) fn charge(&mut self, settled: Duration, lasting: impl Fn() -> Vec<Held>) {
        self.waits.extend(std::iter::from_fn(|| self.ledger.waits().next()));
        let now = Moment::now();
        let ago = |moment: Moment| now.since(moment);
        let is_settled = |wait: &Waited| u128::from(ago(wait.end)) >= settled.as_nanos();
        let ready = self.waits.iter().take_while(|wait| is_settled(wait)).count();
        if ready == 0 {
            return;
        }
        let remember = REMEMBER.as_nanos();
        self.ended.retain(|held| u128::from(held.time.past(now).to) < remember);
        let lasting = lasting();
        let held: Vec<_> =
            self.ended.iter().chain(&lasting).map(|held| (held, held.time.past(now))).collect();
        for wait in self.waits.drain(..ready) {
            let to = ago(wait.end);
            let from = to + nanoseconds(wait.length);
            let shared = held.iter().filter_map(|(held, past)| {
                past.common(Past { from, to }).map(|common| (held.handler, common))
            });
            let shared: Vec<_> = shared.collect();
            for ((handler, _), part) in shared.iter().zip(parts(&shared)) {
                let part = Duration::from_nanos(part);
                handler.trouble().harm(part);
                self.ledger.delays().add(wait.handler, handler, part);
            }
        }
    }
}

impl Time {
    fn past(self, now: Moment) -> Past {
        match self {
            Self::Since(start) => Past { from: now.since(start), to: 0 },
            Self::Ended(end, length) => {
                let to = now.since(end);
                Past { from: to + nanoseconds(length), to }
            }
        }
    }
}

impl Past {
    fn common(self, other: Self) -> Option<Self> {
        let both = Self { from: self.from.min(other.from), to: self.to.max(other.to) };
        (both.from > both.to).then_some(both)
    }

    fn length(self) -> u64 {
        self.from - self.to
    }
}

/// Each one's part of the time that any of them takes.
fn parts<T>(overlaps: &[(T, Past)]) -> Vec<u64> {
    let mut edges: Vec<_> = overlaps.iter().flat_map(|(_, past)| [past.from, past.to]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut parts = vec![0; overlaps.len()];
    for edge in edges.windows(2) {
        let stretch = Past { from: edge[1], to: edge[0] };
        let covers = |past: &Past| past.from >= stretch.from && past.to <= stretch.to;
        let sharing = overlaps.iter().filter(|(_, past)| covers(past)).count().max(1) as u64;
        let of_stretch = parts.iter_mut().zip(overlaps).filter(|(_, (_, past))| covers(past));
        of_stretch.for_each(|(part, _)| *part += stretch.length() / sharing);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_share_the_time_in_which_they_overlap() {
        let past = |from, to| ((), Past { from, to });
        assert_eq!(parts(&[past(100, 40)]), [60]);
        // From 80 to 40 both, before and after one of them.
        assert_eq!(parts(&[past(100, 40), past(80, 0)]), [20 + 20, 20 + 40]);
        assert_eq!(parts(&[past(9, 0), past(9, 0), past(9, 0)]), [3, 3, 3]);
        // In between there is none.
        assert_eq!(parts(&[past(100, 80), past(40, 0)]), [20, 40]);
        assert!(parts::<()>(&[]).is_empty());
    }

    #[test]
    fn a_stall_held_the_worker_for_its_own_time_before_its_end() {
        let end = Moment::now();
        let ended = Time::Ended(end, Duration::from_millis(5));
        assert_eq!(ended.past(end), Past { from: 5_000_000, to: 0 });
        assert_eq!(Time::Since(end).past(end), Past { from: 0, to: 0 });
    }

    #[test]
    fn what_has_no_time_in_common_is_not_charged() {
        let (wait, stall) = (Past { from: 50, to: 10 }, Past { from: 100, to: 50 });
        assert_eq!(wait.common(stall), None);
        assert_eq!(wait.common(Past { from: 60, to: 40 }), Some(Past { from: 50, to: 40 }));
    }
}
