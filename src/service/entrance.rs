//! The entrance for requests that are passed on: so many at a time, a short queue, a deadline.
//!
//! Who does not get in is told so before the body of the request is read.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use metrics::{Counter, Gauge};
use tokio::{
    sync::{Semaphore, SemaphorePermit, TryAcquireError},
    time,
};

use super::{
    engine::admission::Admission, error::ApiError, units::micros, upstream::GatewayConfig,
};

/// Lets requests in.
pub(crate) struct Entrance {
    places: Arc<Places>,
    /// How many there are to be. Its lock is for those who change that.
    most: Mutex<usize>,
    waiting: Admission,
    /// Longest wait, in microseconds.
    longest: AtomicU64,
    meters: Meters,
}

/// Places, of which there may come to be fewer while they are taken.
struct Places {
    free: Semaphore,
    /// Places that are taken and not to be given back.
    too_many: AtomicUsize,
}

/// A place that was taken; given back when this is dropped.
pub(crate) struct Admitted {
    places: Arc<Places>,
    in_flight: Gauge,
}

struct Meters {
    in_flight: Gauge,
    waiting: Gauge,
    full: Counter,
    late: Counter,
}

impl Entrance {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self {
            places: Arc::new(Places::new(config.max_in_flight)),
            most: Mutex::new(config.max_in_flight),
            waiting: Admission::new(config.max_waiting),
            longest: AtomicU64::new(micros(config.queue_timeout)),
            meters: Meters::new(),
        }
    }

    /// Takes new bounds over: who is in stays in, who waits goes on waiting.
    pub(crate) fn configure(&self, config: &GatewayConfig) {
        let mut most = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fewer) = most.checked_sub(config.max_in_flight) {
            self.places.remove(fewer);
        } else {
            self.places.add(config.max_in_flight - *most);
        }
        *most = config.max_in_flight;
        self.waiting.set_bound(config.max_waiting);
        self.longest.store(micros(config.queue_timeout), Relaxed);
    }

    /// Takes a place, or waits for one as long as may be.
    pub(crate) async fn admit(&self) -> Result<Admitted, ApiError> {
        match self.places.free.try_acquire() {
            Ok(place) => Ok(self.admitted(place)),
            Err(TryAcquireError::NoPermits) => self.wait().await,
            Err(TryAcquireError::Closed) => Err(ApiError::internal("the entrance is closed")),
        }
    }

    async fn wait(&self) -> Result<Admitted, ApiError> {
        let Some(_waits) = self.waiting.reserve(1) else {
            self.meters.full.increment(1);
            return Err(self.refusal("and as many wait as may"));
        };
        let _shown = Shown::new(&self.meters.waiting);
        let longest = Duration::from_micros(self.longest.load(Relaxed));
        match time::timeout(longest, self.places.free.acquire()).await {
            Ok(Ok(place)) => Ok(self.admitted(place)),
            Ok(Err(_)) => Err(ApiError::internal("the entrance is closed")),
            Err(_) => {
                self.meters.late.increment(1);
                Err(self.refusal("and none was over in time"))
            }
        }
    }

    fn admitted(&self, place: SemaphorePermit<'_>) -> Admitted {
        // Given back when the request is over.
        place.forget();
        self.meters.in_flight.increment(1.0);
        Admitted { places: Arc::clone(&self.places), in_flight: self.meters.in_flight.clone() }
    }

    fn refusal(&self, why: &str) -> ApiError {
        let most = *self.most.lock().unwrap_or_else(PoisonError::into_inner);
        ApiError::overloaded(format!("{most} requests are on their way {why}"))
    }
}

impl Places {
    fn new(places: usize) -> Self {
        Self { free: Semaphore::new(places), too_many: AtomicUsize::new(0) }
    }

    fn add(&self, places: usize) {
        let kept = self.keep(places);
        self.free.add_permits(places - kept);
    }

    /// Those that are free go at once, the others when they are given back.
    fn remove(&self, places: usize) {
        let gone = self.free.forget_permits(places);
        self.too_many.fetch_add(places - gone, SeqCst);
    }

    fn give_back(&self) {
        let stays = self.too_many.load(Relaxed) == 0 || self.keep(1) == 0;
        if stays {
            self.free.add_permits(1);
        }
    }

    /// Settles up to so many of those that are too many: how many.
    fn keep(&self, most: usize) -> usize {
        let less = |too_many: usize| Some(too_many.saturating_sub(most));
        let before = self.too_many.fetch_update(SeqCst, SeqCst, less);
        before.unwrap_or_else(|before| before).min(most)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.places.give_back();
        self.in_flight.decrement(1.0);
    }
}

/// A request that is counted in a gauge while it waits, also if its client leaves.
struct Shown<'a>(&'a Gauge);

impl<'a> Shown<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Meters {
    fn new() -> Self {
        use metrics::{Unit, describe_counter, describe_gauge};
        let refused = "thermograph_gateway_refused_total";
        describe_counter!(refused, Unit::Count, "Requests that were not let in.");
        let in_flight = "thermograph_gateway_in_flight";
        describe_gauge!(in_flight, Unit::Count, "Requests let in, streams to their end.");
        let waiting = "thermograph_gateway_waiting";
        describe_gauge!(waiting, Unit::Count, "Requests that wait to be let in.");
        Self {
            in_flight: metrics::gauge!(in_flight),
            waiting: metrics::gauge!(waiting),
            full: metrics::counter!(refused, "reason" => "full"),
            late: metrics::counter!(refused, "reason" => "late"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance(max_in_flight: usize, max_waiting: usize, queue_timeout: Duration) -> Entrance {
        let config = GatewayConfig::default();
        Entrance::new(&GatewayConfig { max_in_flight, max_waiting, queue_timeout, ..config })
    }

    #[tokio::test]
    async fn past_the_queue_it_refuses_at_once() {
        let entrance = entrance(1, 1, Duration::from_hours(1));
        let first = entrance.admit().await.expect("in");
        let waits = entrance.admit();
        tokio::pin!(waits);
        assert!(time::timeout(Duration::ZERO, &mut waits).await.is_err(), "it waits");
        assert!(entrance.admit().await.is_err(), "no place, and none to wait in");
        drop(first);
        let second = waits.await.expect("in");
        drop(second);
        assert!(entrance.admit().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused() {
        let entrance = entrance(1, 1, Duration::from_millis(500));
        let _first = entrance.admit().await.expect("in");
        let before = time::Instant::now();
        assert!(entrance.admit().await.is_err());
        assert_eq!(before.elapsed(), Duration::from_millis(500));
    }

    #[tokio::test]
    async fn bounds_are_changed_while_places_are_taken() {
        let entrance = entrance(3, 0, Duration::ZERO);
        let resize = |max_in_flight, max_waiting| {
            let config = GatewayConfig { max_in_flight, max_waiting, ..GatewayConfig::default() };
            entrance.configure(&config);
        };
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(entrance.admit().await.expect("in"));
        }
        resize(1, 0);
        for _ in 0..2 {
            taken.pop();
            assert!(entrance.admit().await.is_err(), "one is in yet, and that is all");
        }
        resize(3, 0);
        resize(2, 1);
        taken.push(entrance.admit().await.expect("in"));
        let waits = entrance.admit();
        tokio::pin!(waits);
        assert!(time::timeout(Duration::ZERO, &mut waits).await.is_err(), "it waits");
        assert!(entrance.admit().await.is_err(), "one may wait");
        resize(4, 0);
        taken.push(waits.await.expect("in"));
        taken.push(entrance.admit().await.expect("in"));
        assert!(entrance.admit().await.is_err(), "four are in");
        drop(taken);
        assert_eq!(entrance.places.free.available_permits(), 4);
    }

    #[tokio::test]
    async fn who_leaves_the_queue_makes_room_in_it() {
        let entrance = entrance(1, 1, Duration::from_hours(1));
        let _first = entrance.admit().await.expect("in");
        for _ in 0..3 {
            let left = time::timeout(Duration::from_millis(1), entrance.admit()).await;
            assert!(left.is_err(), "it waited");
        }
    }
}
