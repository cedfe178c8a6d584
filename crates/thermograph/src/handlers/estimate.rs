//! An estimate of what requests waited whose arrival is not measured.
//!
//! A stalled worker is often the one that would have polled the I/O driver, and then no other one
//! does until the stall is over (tokio#6315): requests that arrived meanwhile are first polled right
//! after it. So of the requests whose first polls follow a stall, each closely behind the one
//! before, as many as usually arrive in so long a time are taken to have arrived while it lasted,
//! spread evenly. That is right for sums and quantiles, and tells little of a single request.
//!
//! Left out are: requests of a connection that was served after the stall began, since its client
//! had an answer to wait for; requests that the runtime's hooks know to have been ready before the
//! end; and what came before another thread last began a request, since a worker polled the driver
//! then.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use thermograph_sampler::{Moment, Slot};
use tokio::task;

/// Connections that are told apart, at most. Two that share a place count as one that was served.
const PLACES: usize = 16 * 1024;
/// Time between two first polls, from which the second is none of those that waited, in nanoseconds.
const CLOSE: u64 = 5_000_000;
/// Parts of a request that are counted.
const UNIT: u64 = 1 << 20;

/// Connections that were served since the last stall ended, by a hash of their tasks.
#[derive(Debug)]
struct Served([AtomicU64; PLACES / 64]);

/// The last stall after which requests may follow that waited for it, and how many to expect.
///
/// Threads that meet here may read a mix of two stalls: it is an estimate.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Estimate {
    /// The newest first poll of those that followed. In front, since every request looks at it.
    latest: AtomicU64,
    /// Raw moments, as the one above; 0 before the first stall.
    from: AtomicU64,
    to: AtomicU64,
    /// Requests that may have waited yet, in [`UNIT`]s.
    credit: AtomicU64,
    /// Requests a second that arrive while nothing stalls, in thousandths.
    rate: AtomicU64,
    /// Requests so far that followed a stall, and for how many nanoseconds they did.
    followed: AtomicU64,
    followed_ns: AtomicU64,
    /// Requests so far that are taken to have waited.
    number: AtomicU64,
    served: Served,
}

/// The counters that [`Estimate::learn`] compares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learnt {
    at: Moment,
    started: u64,
    followed: u64,
    followed_ns: u64,
    stalled: u64,
}

impl Default for Served {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; PLACES / 64])
    }
}

impl Served {
    fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Relaxed));
    }

    /// Notes that a task was served; returns whether it is the first time.
    fn note(&self, task: task::Id) -> bool {
        let mut hasher = DefaultHasher::new();
        task.hash(&mut hasher);
        let place = hasher.finish() as usize % PLACES;
        let bit = 1 << (place % 64);
        self.0[place / 64].fetch_or(bit, Relaxed) & bit == 0
    }
}

impl Estimate {
    /// A stall has ended on this thread.
    #[cold]
    pub(crate) fn stalled(&self, slot: Slot, from: Moment, to: Moment) {
        let others = Slot::used().filter(|other| *other != slot).filter_map(Slot::began);
        let polled = others.filter(|began| to.since(*began) > 0).map(Moment::raw).max();
        self.expect(Moment::from_raw(from.raw().max(polled.unwrap_or(0))), to);
    }

    /// Requests may follow that arrived in this time, which has just ended.
    fn expect(&self, from: Moment, to: Moment) {
        let expected = self.rate.load(Relaxed) as f64 / 1e3 * (to.since(from) as f64 / 1e9);
        let rest = self.credit.load(Relaxed) % UNIT;
        self.credit.store((expected * UNIT as f64) as u64 + rest, Relaxed);
        self.from.store(from.raw(), Relaxed);
        self.latest.store(to.raw(), Relaxed);
        self.to.store(to.raw(), Relaxed);
        self.served.clear();
        if let Some(task) = task::try_id() {
            self.served.note(task);
        }
    }

    /// Nanoseconds that a request waited that is first polled now, as an estimate; `ready` is how
    /// long its task is known to have been ready, in nanoseconds.
    #[inline]
    pub(crate) fn waited(&self, now: Moment, ready: u64) -> Option<u64> {
        let latest = self.latest.load(Relaxed);
        if latest == 0 || now.since(Moment::from_raw(latest)) > CLOSE {
            return None;
        }
        self.follows(now, ready)
    }

    #[cold]
    fn follows(&self, now: Moment, ready: u64) -> Option<u64> {
        let [from, to] = [&self.from, &self.to].map(|moment| moment.load(Relaxed));
        if to == 0 || from >= to {
            return None;
        }
        let (from, to) = (Moment::from_raw(from), Moment::from_raw(to));
        let (length, after) = (to.since(from), now.since(to));
        if after > length {
            return None;
        }
        let latest = Moment::from_raw(self.latest.swap(now.raw(), Relaxed));
        self.followed.fetch_add(1, Relaxed);
        self.followed_ns.fetch_add(now.since(latest), Relaxed);
        if !self.is_first_of_task() || ready > after || !self.take_credit() {
            return None;
        }
        // Van der Corput's sequence is spread evenly wherever it is cut off.
        let number = self.number.fetch_add(1, Relaxed) as u32;
        let share = f64::from(number.wrapping_add(1).reverse_bits()) / f64::from(u32::MAX);
        Some(after + (length as f64 * share) as u64)
    }

    /// Returns whether the task that is polled has not been served since the stall ended; it has now.
    fn is_first_of_task(&self) -> bool {
        task::try_id().is_some_and(|task| self.served.note(task))
    }

    fn take_credit(&self) -> bool {
        self.credit.fetch_update(Relaxed, Relaxed, |credit| credit.checked_sub(UNIT)).is_ok()
    }

    /// Learns how many requests arrive while nothing stalls, from those that `started` so far and
    /// the nanoseconds that stalls took; the watchdog does, now and then.
    pub(crate) fn learn(&self, last: &mut Option<Learnt>, started: u64, stalled: u64) {
        let now = Learnt {
            at: Moment::now(),
            started,
            followed: self.followed.load(Relaxed),
            followed_ns: self.followed_ns.load(Relaxed),
            stalled,
        };
        let Some(before) = last.replace(now) else { return };
        let since = |of: fn(&Learnt) -> u64| of(&now).saturating_sub(of(&before));
        let apart = since(|learnt| learnt.stalled) + since(|learnt| learnt.followed_ns);
        let window = now.at.since(before.at);
        let free = Duration::from_nanos(window.saturating_sub(apart));
        let came = since(|learnt| learnt.started).saturating_sub(since(|learnt| learnt.followed));
        // Where stalls take most of the time, as with a client that asks for nothing else, what comes
        // in the rest tells nothing of what comes meanwhile.
        if free >= Duration::from_nanos(window / 2) {
            let rate = came as f64 / free.as_secs_f64() * 1e3;
            let old = self.rate.load(Relaxed);
            let smooth = if old == 0 { rate } else { f64::midpoint(rate, old as f64) };
            self.rate.store(smooth as u64, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    const MS: u64 = 1_000_000;

    /// A stall of 50 ms that ends now, with so many requests a second.
    fn stall(estimate: &Estimate, rate: u64) -> Moment {
        estimate.rate.store(rate * 1000, Relaxed);
        let from = Moment::now();
        std::thread::sleep(Duration::from_millis(50));
        let to = Moment::now();
        estimate.expect(from, to);
        to
    }

    async fn asks(estimate: &'static Estimate, at: Moment, ready: u64) -> Option<u64> {
        tokio::spawn(async move { estimate.waited(at, ready) }).await.expect("no panic")
    }

    /// Requests of a connection, of three, that are taken to have waited.
    async fn connection(estimate: &'static Estimate, at: Moment) -> usize {
        let mut waited = 0;
        for _ in 0..3 {
            waited += usize::from(estimate.waited(at, 0).is_some());
            tokio::task::yield_now().await;
        }
        waited
    }

    #[tokio::test]
    async fn requests_that_follow_a_stall_are_spread_over_it() {
        let estimate: &Estimate = Box::leak(Box::default());
        assert_eq!(asks(estimate, Moment::now(), 0).await, None);
        let end = stall(estimate, 100);
        let mut waited = Vec::new();
        for _ in 0..20 {
            waited.extend(asks(estimate, end, 0).await);
        }
        // As many as arrive in 50 ms or a little more.
        assert!((5..=12).contains(&waited.len()), "{waited:?}");
        let mean = waited.iter().sum::<u64>() / waited.len() as u64;
        assert!((15 * MS..200 * MS).contains(&mean), "{waited:?}");
        assert!(waited.iter().max() > waited.iter().min(), "{waited:?}");
    }

    #[tokio::test]
    async fn connection_is_taken_to_have_waited_once_however_many_there_are() {
        const CONNECTIONS: usize = 256;
        let estimate: &Estimate = Box::leak(Box::default());
        let end = stall(estimate, 100_000);
        let connections: JoinSet<_> = (0..CONNECTIONS).map(|_| connection(estimate, end)).collect();
        let waited: usize = connections.join_all().await.into_iter().sum();
        // A few share a place.
        assert!((CONNECTIONS * 9 / 10..=CONNECTIONS).contains(&waited), "{waited}");
    }

    #[tokio::test]
    async fn request_that_cannot_have_waited_has_no_estimate() {
        let estimate: &Estimate = Box::leak(Box::default());
        let end = stall(estimate, 100);
        // The hooks say that it was ready before the stall ended: they know all of its wait.
        assert_eq!(asks(estimate, end, MS).await, None);
        // The second of one connection comes after the answer to the first.
        let task = tokio::spawn(async move { [0, 1].map(|_| estimate.waited(end, 0).is_some()) });
        assert_eq!(task.await.expect("no panic"), [true, false]);
        // One that comes later than closely behind.
        std::thread::sleep(Duration::from_millis(8));
        assert_eq!(asks(estimate, Moment::now(), 0).await, None);
    }
}
