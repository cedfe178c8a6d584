//! What the diagnostics layer adds to a poll: of a handler that waits, and is polled many times.
//!
//! No network and no runtime: the future that a router hands out is polled in a loop. What the
//! layer costs once a request is not in it. The watchdog runs beside both sides.

use std::{
    future::poll_fn,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    routing::{RouterIntoService, get},
};
use http::Request;
use rustix::time::{ClockId, clock_gettime};
use thermograph::{ConsoleMode, Thermograph};
use tower::{Service as _, layer::util::Identity};

use crate::{
    figure::{Bound, Figure},
    pin::Side,
    rounds::{Rounds, Sample, median},
    spread::Spread,
};

/// Short: most turns are over before anybody else gets the core.
pub(crate) const ROUNDS: Rounds = Rounds { pairs: 1000, length: Duration::from_millis(2) };

/// Polls between two looks at the clock.
const BATCH: u64 = 1000;

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let _pinned = Side::Server.pin()?;
    let thermograph = Thermograph::builder().console(ConsoleMode::Off).build()?;
    let app = || Router::new().route("/", get(wait));
    // axum boxes each layer's futures, whatever the layer does.
    let mut sides = [app().layer(Identity::new()), app().layer(thermograph.layer())]
        .map(|app| app.with_state::<()>(()).into_service::<Body>());
    let pairs = rounds.pairs(|side, length| Ok(polls(&mut sides[side], length)))?;
    let added = pairs.iter().map(|[idle, watched]| nanoseconds(watched) - nanoseconds(idle));
    let added = Spread::of(added);
    let [idle, watched] = [0, 1].map(|side| median(&pairs, side, nanoseconds));
    Ok(vec![Figure {
        name: "poll",
        what: "ns: added to a poll of a handler, with the diagnostics layer : with a layer that \
               does nothing"
            .to_owned(),
        value: added.median(),
        bound: Bound::AtMost(60.0),
        conditions: format!(
            "{} pairs of {:?}: {added:.1}; {idle:.1} → {watched:.1} ns of processor time",
            added.count(),
            rounds.length
        ),
    }])
}

/// A handler that never has an answer.
async fn wait() -> &'static str {
    poll_fn(|_| black_box(Poll::<()>::Pending)).await;
    "hello"
}

/// Polls a request's future over and over: `requests` are polls here.
fn polls(app: &mut RouterIntoService<Body>, length: Duration) -> Sample {
    let mut future = pin!(app.call(Request::new(Body::empty())));
    let mut context = Context::from_waker(Waker::noop());
    let (start, before) = (Instant::now(), cpu_time());
    let mut done = 0;
    while start.elapsed() < length {
        for _ in 0..BATCH {
            black_box(future.as_mut().poll(&mut context).is_pending());
        }
        done += BATCH;
    }
    let cpu_seconds = cpu_time().saturating_sub(before).as_secs_f64();
    Sample { requests: done, seconds: start.elapsed().as_secs_f64(), cpu_seconds }
}

fn nanoseconds(sample: &Sample) -> f64 {
    sample.cpu_per_request() * 1e3
}

/// Of this thread: whoever else has the core meanwhile is not in it.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::from_secs(time.tv_sec.cast_unsigned())
        + Duration::from_nanos(time.tv_nsec.cast_unsigned())
}
