//! Nanoseconds that the diagnostics add, without a network: the layer to a request and to a poll,
//! the hooks to a task's poll.

use std::{
    convert::Infallible,
    future::{Pending, Ready, pending, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::get};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Request, Response};
use thermograph::{Ledger, WatchLayer};
use tokio::runtime::{self, Runtime};
use tower::{Service, layer::util::Identity, service_fn};
use tower_layer::Layer as _;

fn layer(criterion: &mut Criterion) {
    let ledger = Ledger::leak(256);
    let layer = WatchLayer::new(ledger);
    let app = || Router::new().route("/", get(|| async { "hello" }));
    // As `axum::serve` does: without it, handlers are boxed anew for every request.
    let service = |app: Router| app.with_state::<()>(()).into_service::<Body>();

    // The layer alone, around a service that is there at once: its whole cost is the difference.
    let mut group = criterion.benchmark_group("service");
    group.throughput(Throughput::Elements(1));
    group.bench_function("bare", |bench| bench.iter(|| call(&mut service_fn(answer))));
    let mut watched = layer.layer(service_fn(answer));
    group.bench_function("watched", |bench| bench.iter(|| call(&mut watched)));
    group.finish();

    // In a router, where the handler is looked up by its method and matched path.
    let mut group = criterion.benchmark_group("router");
    group.throughput(Throughput::Elements(1));
    let mut bare = service(app());
    group.bench_function("bare", |bench| bench.iter(|| call(&mut bare)));
    // What axum itself takes for any layer at all.
    let mut identity = service(app().layer(Identity::new()));
    group.bench_function("identity", |bench| bench.iter(|| call(&mut identity)));
    let mut watched = service(app().layer(layer));
    group.bench_function("watched", |bench| bench.iter(|| call(&mut watched)));
    group.finish();
}

/// A poll that leaves the handler waiting, of which a request may have any number.
fn poll(criterion: &mut Criterion) {
    let mut context = Context::from_waker(Waker::noop());
    let mut group = criterion.benchmark_group("poll");
    group.throughput(Throughput::Elements(1));
    let mut bare = pin!(wait(Request::new(Body::empty())));
    group.bench_function("bare", |bench| {
        bench.iter(|| bare.as_mut().poll(&mut context).is_pending());
    });
    let mut watched = WatchLayer::new(Ledger::leak(256)).layer(service_fn(wait));
    let mut watched = pin!(watched.call(Request::new(Body::empty())));
    group.bench_function("watched", |bench| {
        bench.iter(|| watched.as_mut().poll(&mut context).is_pending());
    });
    group.finish();
}

/// A poll of a task, which yields over and over: with the runtime's own work between two.
fn hooks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("task");
    group.throughput(Throughput::Elements(1));
    let mut builder = runtime::Builder::new_current_thread();
    let bare = builder.build().expect("a runtime");
    group.bench_function("bare", |bench| bench.iter_custom(|polls| yields(&bare, polls)));
    // Tokio has hooks with this only.
    #[cfg(tokio_unstable)]
    {
        let thermograph = thermograph::Thermograph::builder().build().expect("valid");
        thermograph.hooks().install(&mut builder);
        let hooked = builder.build().expect("a runtime");
        group.bench_function("hooked", |bench| bench.iter_custom(|polls| yields(&hooked, polls)));
    }
    group.finish();
}

/// How long it takes a task to yield so many times.
fn yields(runtime: &Runtime, polls: u64) -> Duration {
    // What is given to `block_on` is no task, and has no hooks.
    let task = runtime.spawn(async move {
        let start = Instant::now();
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
        start.elapsed()
    });
    runtime.block_on(task).expect("no panic")
}

/// What a scrape costs, with as many handlers as there may be.
fn report(criterion: &mut Criterion) {
    let ledger = Ledger::leak(256);
    let layer = WatchLayer::new(ledger);
    let mut app = Router::new();
    for number in 0..256 {
        app = app.route(&format!("/{number}"), get(|| async { "hello" }));
    }
    let mut app = app.layer(layer).into_service::<Body>();
    for number in 0..256 {
        ask(&mut app, &format!("/{number}"));
    }
    let mut group = criterion.benchmark_group("ledger");
    group.throughput(Throughput::Elements(256));
    group.bench_function("report", |bench| bench.iter(|| black_box(ledger.report())));
    group.finish();
}

fn answer(_: Request<Body>) -> Ready<Result<Response<Body>, Infallible>> {
    ready(Ok(Response::new(Body::from("hello"))))
}

/// Never has an answer.
fn wait(_: Request<Body>) -> Pending<Result<Response<Body>, Infallible>> {
    pending()
}

fn call<S, B>(service: &mut S)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body,
{
    ask(service, "/");
}

/// A request from its head to the end of the answer's body.
fn ask<S, B>(service: &mut S, path: &str)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body,
{
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().expect("a path");
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut context) else {
        panic!("a handler that waits for nothing has its answer at once");
    };
    let mut body = pin!(response.into_body());
    while !body.as_ref().is_end_stream() {
        black_box(body.as_mut().poll_frame(&mut context).is_ready());
    }
}

criterion_group!(benches, layer, poll, hooks, report);
criterion_main!(benches);
