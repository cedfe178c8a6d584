//! What each layer costs a request, in nanoseconds: a handler that has its answer at hand, called in
//! this process, with one layer and with none in turns.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use axum::{Router, body::Body, extract::Request, routing::post};
use http::header;
use http_body_util::BodyExt as _;
use thermograph::{Ledger, WatchLayer};
use thermograph_service::{
    Hooks, Service,
    middleware::{Algorithm, Config},
};
use tokio::runtime::Runtime;
use tower::Service as _;

use crate::{
    figure::{Bound, Figure},
    hits,
    rounds::Rounds,
    spread::Spread,
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 24, length: Duration::from_millis(100) };

const NAME: &str = "middleware";
/// Bytes of the answer: a short chat's.
const ANSWER: usize = 2048;
/// Requests between two looks at the clock.
const BATCH: u32 = 64;

/// A layer that is on, and what the client says.
struct Case {
    what: &'static str,
    config: Config,
    headers: &'static [(&'static str, &'static str)],
}

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watch = WatchLayer::new(Ledger::leak(256));
    cases()
        .into_iter()
        .map(|case| {
            let app = |config: Config| -> anyhow::Result<Router> {
                let models = std::collections::BTreeMap::new();
                let config = thermograph_service::Config {
                    middleware: config,
                    models,
                    ..Default::default()
                };
                let service = Service::start(config, Hooks::default())?;
                let answer =
                    async || ([(header::CONTENT_TYPE, "application/json")], hits::at_hand(ANSWER));
                let app = Router::new().route("/", post(answer));
                Ok(app.layer(service.middleware(watch)))
            };
            let mut apps = [app(off())?, app(case.config)?];
            let mut nanos = Vec::new();
            for _ in 0..=rounds.pairs {
                let [without, with] = [0, 1].map(|side: usize| {
                    round(&runtime, &mut apps[side], case.headers, rounds.length)
                });
                nanos.push([without?, with?]);
            }
            // The first round does not count.
            let added = Spread::of(nanos[1..].iter().map(|[without, with]| with - without));
            let without = Spread::of(nanos[1..].iter().map(|[without, _]| *without));
            Ok(Figure {
                name: NAME,
                what: format!("ns a request: {}", case.what),
                value: added.median(),
                bound: Bound::None,
                conditions: format!(
                    "without any {:.0} ns; {} pairs of {:?}: {added:.0}",
                    without.median(),
                    added.count(),
                    rounds.length
                ),
            })
        })
        .collect()
}

fn cases() -> Vec<Case> {
    let gzip = || vec![Algorithm::Gzip];
    let case = |what, config, headers| Case { what, config, headers };
    vec![
        case("request ids", Config { request_ids: true, ..off() }, &[]),
        case("the diagnostics", Config { watch: true, ..off() }, &[]),
        case(
            "compression, for a client that takes none",
            Config { compression: gzip(), ..off() },
            &[],
        ),
        case(
            "compression with gzip",
            Config { compression: gzip(), ..off() },
            &[("accept-encoding", "gzip")],
        ),
        case(
            "compression with Brotli",
            Config { compression: vec![Algorithm::Br], ..off() },
            &[("accept-encoding", "br")],
        ),
        case(
            "compression with Zstandard",
            Config { compression: vec![Algorithm::Zstd], ..off() },
            &[("accept-encoding", "zstd")],
        ),
        case("codecs, for a client of JSON", Config { codecs: true, ..off() }, &[]),
        case("panics", Config { catch_panics: true, ..off() }, &[]),
        case("all that are on by default", Config::default(), &[]),
    ]
}

fn off() -> Config {
    Config {
        request_ids: false,
        watch: false,
        compression: Vec::new(),
        codecs: false,
        catch_panics: false,
    }
}

/// Nanoseconds of a request, its answer read to the end.
fn round(
    runtime: &Runtime,
    app: &mut Router,
    headers: &[(&str, &str)],
    length: Duration,
) -> anyhow::Result<f64> {
    runtime.block_on(async {
        let (start, mut requests) = (Instant::now(), 0);
        loop {
            for _ in 0..BATCH {
                let mut request = Request::post("/");
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let answer = app.call(request.body(Body::empty())?).await?;
                ensure!(answer.status() == 200, "an answer of {}", answer.status());
                let body = answer.into_body().collect().await.context("a body")?;
                black_box(body.to_bytes());
            }
            requests += BATCH;
            let took = start.elapsed();
            if took >= length {
                return Ok(took.as_nanos() as f64 / f64::from(requests));
            }
        }
    })
}
