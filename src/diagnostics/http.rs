//! The diagnostics' routes, all on this page.

mod access;
mod diagnosis;
mod error;
mod index;
mod ledger;
mod params;
mod profiles;
mod stalls;
mod symbol;
mod tasks;
mod timeline;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::get,
};
use http::Uri;

pub(crate) use self::index::escape;
use self::{access::Access, error::HttpError};
use super::Thermograph;

/// | path | what it gives |
/// |---|---|
/// | `/debug/` | links to everything |
/// | `/debug/pprof/` | the table of profiles |
/// | `/debug/pprof/profile` | CPU time, by stack |
/// | `/debug/pprof/cmdline` | the command line, joined by NUL |
/// | `/debug/pprof/block` | stalls, by their time |
/// | `/debug/pprof/mutex` | of these, what waited for locks |
/// | `/debug/pprof/symbol` | names of addresses |
/// | `/debug/fgprof` | wall-clock time in polls, by stack |
/// | `/debug/pprof/goroutine` | tasks, by where they wait |
/// | `/debug/pprof/trace` | a timeline of polls, for Perfetto |
/// | `/debug/tasks` | tasks one by one |
/// | `/debug/spans` | time in spans |
/// | `/debug/stalls` | the newest stalls, and those to come |
/// | `/debug/diagnosis` | verdicts over handlers |
/// | `/debug/handlers` | the ledger |
/// | `/metrics` | the same for Prometheus |
pub(crate) fn router(thermograph: &Thermograph) -> Router {
    let access = Access::new(thermograph.inner.config.token.clone());
    Router::new()
        .route("/debug/", get(index::debug))
        .route("/debug", get(index::to_debug))
        .route("/debug/pprof/", get(index::pprof))
        .route("/debug/pprof/profile", get(profiles::cpu))
        .route("/debug/pprof/cmdline", get(index::cmdline))
        .route("/debug/pprof/block", get(profiles::block))
        .route("/debug/pprof/mutex", get(profiles::mutex))
        .route("/debug/pprof/symbol", get(symbol::get).post(symbol::post))
        .route("/debug/pprof/goroutine", get(tasks::goroutine))
        .route("/debug/pprof/trace", get(timeline::trace))
        .route("/debug/tasks", get(tasks::tasks))
        .route("/debug/fgprof", get(profiles::wall))
        .route("/debug/spans", get(profiles::spans))
        .route("/debug/stalls", get(stalls::stalls))
        .route("/debug/diagnosis", get(diagnosis::diagnosis))
        .route("/debug/handlers", get(ledger::handlers))
        .route("/metrics", get(ledger::metrics))
        .fallback(unknown)
        .with_state(thermograph.clone())
        // Nothing that shows the inside of a process belongs in a cache.
        .layer(from_fn(access::no_store))
        // Outermost: who may not ask learns nothing, not even which paths exist.
        .layer(from_fn_with_state(access, access::check))
}

async fn unknown(uri: Uri) -> HttpError {
    // Go's words, for Go's tools.
    HttpError::not_found(match uri.path().strip_prefix("/debug/pprof/") {
        Some(_) => "Unknown profile: see /debug/pprof/ for what there is".to_owned(),
        None => "unknown path: see /debug/ for what there is".to_owned(),
    })
}
