//! The entrance for requests that are passed on: so many at a time, so many of one caller, a short
//! queue, a deadline.
//!
//! Places are given to callers in turn, not in the order in which their requests came: a caller with
//! many requests delays another by one at a time. A request that gets no place is refused before its
//! body is read.

mod queue;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use metrics::{Counter, Gauge};
use thermograph_common::units::micros;
use tokio::{sync::oneshot, time};

use self::queue::{Bound, Bounds, Queue};
use super::{caller::Caller, error::ApiError, limits::Kind};

/// Limits of an [`Entrance`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntranceConfig {
    /// Most requests at a time.
    pub(crate) max_in_flight: usize,
    /// Most requests of one key at a time, if there are keys.
    pub(crate) max_in_flight_per_key: usize,
    /// Most requests that wait for a place.
    pub(crate) max_waiting: usize,
    /// Longest time that one waits.
    pub(crate) queue_timeout: Duration,
}

/// Time after which a caller that has all its places may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Lets requests in.
pub(crate) struct Entrance {
    shared: Arc<Shared>,
    /// Longest wait, in microseconds.
    longest: AtomicU64,
}

struct Shared {
    queue: Mutex<Queue<Waiter>>,
    /// True if callers may have keys; otherwise all are one caller, which may have all places.
    has_keys: bool,
    meters: Meters,
}

/// A request in the queue. Without its sender it is refused.
struct Waiter {
    caller: Caller,
    sender: oneshot::Sender<Admitted>,
}

/// Outcome of a request for a place.
enum Entered {
    In(Admitted),
    Queued(oneshot::Receiver<Admitted>, Waiting),
    Refused,
}

/// A place that was taken; given back when this is dropped.
pub(crate) struct Admitted {
    shared: Arc<Shared>,
    caller: Caller,
}

/// A request that is counted while it waits, and leaves the queue when this is dropped.
struct Waiting {
    shared: Arc<Shared>,
    caller: Caller,
    number: u64,
}

struct Meters {
    in_flight: Gauge,
    waiting: Gauge,
    full: Counter,
    late: Counter,
    caller: Counter,
}

impl Entrance {
    pub(crate) fn new(config: EntranceConfig, has_keys: bool) -> Self {
        let queue = Mutex::new(Queue::new(bounds(config, has_keys)));
        Self {
            shared: Arc::new(Shared { queue, has_keys, meters: Meters::new() }),
            longest: AtomicU64::new(micros(config.queue_timeout)),
        }
    }

    /// Takes new bounds over: what is in stays in, what waits goes on waiting.
    pub(crate) fn configure(&self, config: EntranceConfig) {
        self.longest.store(micros(config.queue_timeout), Relaxed);
        self.shared.lock().set_bounds(bounds(config, self.shared.has_keys));
        self.shared.let_in();
    }

    /// Takes a place, or waits for one as long as may be.
    pub(crate) async fn admit(&self, caller: &Caller) -> Result<Admitted, ApiError> {
        let Self { shared, longest } = self;
        let full = || shared.refusal(caller, &shared.meters.full, "the queue is full");
        match shared.enter(caller) {
            Entered::In(admitted) => Ok(admitted),
            Entered::Refused => Err(full()),
            Entered::Queued(receiver, _waiting) => {
                let longest = Duration::from_micros(longest.load(Relaxed));
                match time::timeout(longest, receiver).await {
                    Ok(Ok(admitted)) => Ok(admitted),
                    // Dropped from a full queue, for a caller with fewer requests in it.
                    Ok(Err(_)) => Err(full()),
                    Err(_) => {
                        let late = &shared.meters.late;
                        Err(shared.refusal(caller, late, "none ended in time"))
                    }
                }
            }
        }
    }
}

impl Shared {
    fn enter(self: &Arc<Self>, caller: &Caller) -> Entered {
        let mut queue = self.lock();
        if queue.enter(name(caller)) {
            return Entered::In(self.admitted(caller.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        match queue.wait(name(caller), Waiter { caller: caller.clone(), sender }) {
            Ok((number, _dropped)) => {
                self.meters.waiting.increment(1.0);
                let (shared, caller) = (Arc::clone(self), caller.clone());
                Entered::Queued(receiver, Waiting { shared, caller, number })
            }
            Err(_) => Entered::Refused,
        }
    }

    /// Gives places that are free to requests whose turn it is.
    fn let_in(self: &Arc<Self>) {
        loop {
            let Some(Waiter { caller, sender }) = self.lock().next() else { return };
            // A place that is not taken, since the client has just left, is given back.
            let _ = sender.send(self.admitted(caller));
        }
    }

    fn admitted(self: &Arc<Self>, caller: Caller) -> Admitted {
        self.meters.in_flight.increment(1.0);
        Admitted { shared: Arc::clone(self), caller }
    }

    /// Refuses a request: 429 if its caller has all the places that one may have, 503 otherwise.
    fn refusal(&self, caller: &Caller, counter: &Counter, why: &str) -> ApiError {
        let queue = self.lock();
        let (bounds, reached) = (queue.bounds(), queue.reached(name(caller)));
        drop(queue);
        match reached {
            Bound::Caller => {
                self.meters.caller.increment(1);
                let most = bounds.per_caller;
                let whose = match caller.key() {
                    Some(key) => format!("the key `{}`", key.info.id),
                    None => "callers without a key".to_owned(),
                };
                let message = format!("{whose} may have {most} requests at a time");
                ApiError::limited(Kind::Requests, Some(RETRY_AFTER), message)
            }
            Bound::All => {
                counter.increment(1);
                let most = bounds.in_flight;
                ApiError::overloaded(format!(
                    "server overloaded: {most} requests in flight, and {why}"
                ))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<Waiter>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name in the queue of all callers without a key. Not empty: to compare empty strings, whose pointers
/// dangle, costs AVX-512's masked loads more than a hundred nanoseconds.
const WITHOUT_KEY: &str = "-";

/// Name of a caller in the queue.
fn name(caller: &Caller) -> &str {
    caller.key().map_or(WITHOUT_KEY, |key| &key.info.id)
}

fn bounds(config: EntranceConfig, has_keys: bool) -> Bounds {
    let in_flight = config.max_in_flight;
    let per_caller = if has_keys { config.max_in_flight_per_key } else { in_flight };
    Bounds { in_flight, per_caller, waiting: config.max_waiting }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.meters.in_flight.decrement(1.0);
        let mut queue = self.shared.lock();
        queue.give_back(name(&self.caller));
        let has_waiting = queue.has_waiting();
        drop(queue);
        if has_waiting {
            self.shared.let_in();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.meters.waiting.decrement(1.0);
        // A request that was let in is not there any more.
        drop(self.shared.lock().leave(name(&self.caller), self.number));
    }
}

impl Meters {
    fn new() -> Self {
        use metrics::{Unit, describe_counter, describe_gauge};
        let refused = "thermograph_gateway_refused_total";
        describe_counter!(refused, Unit::Count, "Requests that were not let in, by reason.");
        let in_flight = "thermograph_gateway_in_flight";
        describe_gauge!(in_flight, Unit::Count, "Requests let in, streams to their end.");
        let waiting = "thermograph_gateway_waiting";
        describe_gauge!(waiting, Unit::Count, "Requests that wait to be let in.");
        Self {
            in_flight: metrics::gauge!(in_flight),
            waiting: metrics::gauge!(waiting),
            full: metrics::counter!(refused, "reason" => "full"),
            late: metrics::counter!(refused, "reason" => "late"),
            caller: metrics::counter!(refused, "reason" => "caller"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance(max_in_flight: usize, max_waiting: usize, queue_timeout: Duration) -> Entrance {
        Entrance::new(config(max_in_flight, max_waiting, queue_timeout), false)
    }

    fn config(max_in_flight: usize, max_waiting: usize, queue_timeout: Duration) -> EntranceConfig {
        let max_in_flight_per_key = max_in_flight;
        EntranceConfig { max_in_flight, max_in_flight_per_key, max_waiting, queue_timeout }
    }

    impl Entrance {
        async fn admit_any(&self) -> Result<Admitted, ApiError> {
            self.admit(&Caller::default()).await
        }
    }

    #[tokio::test]
    async fn past_the_queue_it_refuses_at_once() {
        let entrance = entrance(1, 1, Duration::from_hours(1));
        let first = entrance.admit_any().await.expect("in");
        let waits = entrance.admit_any();
        tokio::pin!(waits);
        assert!(time::timeout(Duration::ZERO, &mut waits).await.is_err(), "it waits");
        assert!(entrance.admit_any().await.is_err(), "no place, and none to wait in");
        drop(first);
        let second = waits.await.expect("in");
        drop(second);
        assert!(entrance.admit_any().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused() {
        let entrance = entrance(1, 1, Duration::from_millis(500));
        let _first = entrance.admit_any().await.expect("in");
        let before = time::Instant::now();
        assert!(entrance.admit_any().await.is_err());
        assert_eq!(before.elapsed(), Duration::from_millis(500));
    }

    #[tokio::test]
    async fn bounds_are_changed_while_places_are_taken() {
        let entrance = entrance(3, 0, Duration::ZERO);
        let resize = |max_in_flight, max_waiting| {
            entrance.configure(config(max_in_flight, max_waiting, Duration::from_millis(500)));
        };
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(entrance.admit_any().await.expect("in"));
        }
        resize(1, 0);
        for _ in 0..2 {
            taken.pop();
            assert!(entrance.admit_any().await.is_err(), "one is in yet, and that is all");
        }
        resize(3, 0);
        resize(2, 1);
        taken.push(entrance.admit_any().await.expect("in"));
        let waits = entrance.admit_any();
        tokio::pin!(waits);
        assert!(time::timeout(Duration::ZERO, &mut waits).await.is_err(), "it waits");
        assert!(entrance.admit_any().await.is_err(), "one may wait");
        resize(4, 0);
        taken.push(waits.await.expect("in"));
        taken.push(entrance.admit_any().await.expect("in"));
        assert!(entrance.admit_any().await.is_err(), "four are in");
        drop(taken);
        assert_eq!(entrance.shared.lock().in_flight(), 0);
    }

    #[tokio::test]
    async fn who_leaves_the_queue_makes_room_in_it() {
        let entrance = entrance(1, 1, Duration::from_hours(1));
        let _first = entrance.admit_any().await.expect("in");
        for _ in 0..3 {
            let left = time::timeout(Duration::from_millis(1), entrance.admit_any()).await;
            assert!(left.is_err(), "it waited");
        }
    }

    #[tokio::test]
    async fn client_that_leaves_as_its_turn_comes_keeps_no_place() {
        let entrance = entrance(1, 2, Duration::from_hours(1));
        let first = entrance.admit_any().await.expect("in");
        let mut leaves = Box::pin(entrance.admit_any());
        let mut stays = Box::pin(entrance.admit_any());
        for waits in [&mut leaves, &mut stays] {
            assert!(time::timeout(Duration::ZERO, waits).await.is_err(), "it waits");
        }
        drop(first);
        // The place was given to this request, which was not polled since.
        drop(leaves);
        drop(stays.await.expect("in"));
        assert_eq!(entrance.shared.lock().in_flight(), 0);
    }
}
