//! The places of an app that a specimen can run in.

use std::{
    convert::Infallible,
    fs,
    future::ready,
    mem,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{FromRequestParts, Path, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, any, get, post},
};
use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{FuturesUnordered, once},
};
use http::{StatusCode, header, request::Parts};
use tokio::task::{self, JoinSet};

use crate::specimen::{Place, Specimen, Work};

/// Detached work that is not over.
pub(crate) static DETACHED: AtomicUsize = AtomicUsize::new(0);

/// Adds a specimen to an app.
pub(crate) fn add(app: Router, specimen: &Specimen) -> Router {
    let methods = methods(specimen);
    if specimen.place == Place::Parameter {
        let (prefix, path) = split(&specimen.route);
        return app.nest(prefix, Router::new().route(path, methods));
    }
    app.route(&specimen.route, methods)
}

/// The first segment of a path, and the rest.
fn split(route: &str) -> (&str, &str) {
    let end = route[1..].find('/').map_or(route.len(), |end| end + 1);
    route.split_at(end)
}

fn methods(specimen: &Specimen) -> MethodRouter {
    let work = specimen.run.clone();
    match specimen.place {
        Place::Handler => get(async move || done(&work)),
        Place::AfterAwait => get(async move || {
            tokio::time::sleep(Duration::from_millis(1)).await;
            done(&work)
        }),
        Place::Parameter => get(async move |_: Path<u64>| done(&work)),
        Place::Post => post(async move |body: Bytes| {
            done(&work);
            body
        }),
        Place::Any => any(async move || done(&work)),
        Place::TraitObject => get(async move || {
            let service: Box<dyn Service> = Box::new(Sick(work));
            service.call().await
        }),
        Place::Select => get(async move || {
            tokio::select! {
                answer = async { done(&work) } => answer,
                () = tokio::time::sleep(Duration::from_secs(1)) => "late",
            }
        }),
        Place::Timeout => get(async move || {
            tokio::time::timeout(Duration::from_secs(1), async { done(&work) })
                .await
                .is_ok()
                .to_string()
        }),
        Place::Unordered => get(async move || unordered(&work).await),
        Place::Drop => get(async move || {
            let _guard = Guard(work);
            "done"
        }),
        Place::Extractor => get(async |_: Sick| "done").layer(Extension(Sick(work))),
        Place::Middleware => {
            get(async || "done").layer((Extension(Sick(work)), from_fn(work_first)))
        }
        Place::Body => get(async move || {
            Body::from_stream(once(async move { Ok::<_, Infallible>(done(&work)) }))
        }),
        Place::Task => {
            get(async move || task::spawn(async move { done(&work) }).await.expect("no panic"))
        }
        Place::TaskOfTask => get(async move || {
            let inner = async move { done(&work) };
            let outer = async { task::spawn(inner).await.expect("no panic") };
            task::spawn(outer).await.expect("no panic")
        }),
        Place::JoinSet => get(async move || {
            let mut set = JoinSet::new();
            set.spawn(async move { done(&work) });
            set.spawn(ready("done"));
            set.join_all().await.concat()
        }),
        Place::Detached => get(async move || {
            DETACHED.fetch_add(1, SeqCst);
            task::spawn(async move {
                done(&work);
                DETACHED.fetch_sub(1, SeqCst);
            });
            "later"
        }),
        Place::Upgraded => get(async move |request: Request| upgrade(work, request)),
    }
}

fn done(work: &Work) -> &'static str {
    let _watch = Watch::start();
    work();
    "done"
}

/// Adds what is spent while it lives, all in one poll.
struct Watch {
    start: Instant,
    queued: Duration,
}

impl Watch {
    fn start() -> Self {
        Self { start: Instant::now(), queued: queued() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut spent = SPENT.lock().unwrap_or_else(PoisonError::into_inner);
        spent.length += self.start.elapsed();
        spent.queued += queued().saturating_sub(self.queued);
    }
}

/// What a specimen's work took, by its own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) length: Duration,
    /// Of that, waiting for a processor.
    pub(crate) queued: Duration,
}

static SPENT: Mutex<Spent> = Mutex::new(Spent { length: Duration::ZERO, queued: Duration::ZERO });

/// What was spent since this was last called.
pub(crate) fn take_spent() -> Spent {
    let none = Spent { length: Duration::ZERO, queued: Duration::ZERO };
    mem::replace(&mut *SPENT.lock().unwrap_or_else(PoisonError::into_inner), none)
}

/// How long this thread has waited for a processor so far.
pub(crate) fn queued() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').nth(1).and_then(|number| number.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

async fn unordered(work: &Work) -> &'static str {
    let _watch = Watch::start();
    let mut futures: FuturesUnordered<_> = (0..25).map(|_| async { work() }).collect();
    while futures.next().await.is_some() {}
    "done"
}

fn upgrade(work: Work, mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    task::spawn(async move {
        let connection = upgrade.await;
        done(&work);
        drop(connection);
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "specimen")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn work_first(Extension(sick): Extension<Sick>, request: Request, next: Next) -> Response {
    done(&sick.0);
    next.run(request).await
}

trait Service: Send {
    fn call(&self) -> BoxFuture<'_, &'static str>;
}

/// What works wherever it is asked.
#[derive(Clone)]
struct Sick(Work);

impl Service for Sick {
    fn call(&self) -> BoxFuture<'_, &'static str> {
        Box::pin(async { done(&self.0) })
    }
}

impl<S: Sync> FromRequestParts<S> for Sick {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let sick: Self = parts.extensions.get().cloned().expect("a layer puts it there");
        done(&sick.0);
        Ok(sick)
    }
}

/// Works when it is dropped.
struct Guard(Work);

impl Drop for Guard {
    fn drop(&mut self) {
        done(&self.0);
    }
}
