//! The entrance for requests that are passed on: so many at a time, a short queue, a deadline.
//!
//! Who does not get in is told so before the body of the request is read.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError},
    time,
};

use super::{engine::admission::Admission, error::ApiError, upstream::GatewayConfig};

/// Lets requests in.
pub(crate) struct Entrance {
    places: Arc<Semaphore>,
    most: usize,
    waiting: Admission,
    longest: Duration,
    meters: Meters,
}

/// A place that was taken; given back when this is dropped.
pub(crate) struct Admitted {
    _place: OwnedSemaphorePermit,
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
            places: Arc::new(Semaphore::new(config.max_in_flight)),
            most: config.max_in_flight,
            waiting: Admission::new(config.max_waiting),
            longest: config.queue_timeout,
            meters: Meters::new(),
        }
    }

    /// Takes a place, or waits for one as long as may be.
    pub(crate) async fn admit(&self) -> Result<Admitted, ApiError> {
        match Arc::clone(&self.places).try_acquire_owned() {
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
        let place = Arc::clone(&self.places).acquire_owned();
        match time::timeout(self.longest, place).await {
            Ok(Ok(place)) => Ok(self.admitted(place)),
            Ok(Err(_)) => Err(ApiError::internal("the entrance is closed")),
            Err(_) => {
                self.meters.late.increment(1);
                Err(self.refusal("and none was over in time"))
            }
        }
    }

    fn admitted(&self, place: OwnedSemaphorePermit) -> Admitted {
        self.meters.in_flight.increment(1.0);
        Admitted { _place: place, in_flight: self.meters.in_flight.clone() }
    }

    fn refusal(&self, why: &str) -> ApiError {
        ApiError::overloaded(format!("{} requests are on their way {why}", self.most))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
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
    async fn who_leaves_the_queue_makes_room_in_it() {
        let entrance = entrance(1, 1, Duration::from_hours(1));
        let _first = entrance.admit().await.expect("in");
        for _ in 0..3 {
            let left = time::timeout(Duration::from_millis(1), entrance.admit()).await;
            assert!(left.is_err(), "it waited");
        }
    }
}
