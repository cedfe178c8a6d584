//! The diagnostics' routes, all on this page.

mod access;
mod captures;
mod diagnosis;
mod doctor;
mod error;
mod index;
mod ledger;
mod live;
mod memory;
mod page;
mod params;
mod profiles;
mod stalls;
mod symbol;
mod tasks;
mod threads;
mod timeline;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::get,
};
use http::Uri;

use self::{access::Access, error::HttpError};
use super::live::Live;
use crate::instance::Instance;

/// | path | what it gives |
/// |---|---|
/// | `/debug/` | the page |
/// | `/debug/live` | what happens now, as events |
/// | `/debug/pprof/` | the table of profiles |
/// | `/debug/pprof/profile` | CPU time, by stack |
/// | `/debug/pprof/cmdline` | the command line, joined by NUL |
/// | `/debug/pprof/block` | stalls, by their time |
/// | `/debug/pprof/mutex` | of these, what waited for locks |
/// | `/debug/pprof/heap` | memory that lives, by stack |
/// | `/debug/pprof/allocs` | memory that was allocated, by stack |
/// | `/debug/pprof/symbol` | names of addresses |
/// | `/debug/fgprof` | wall-clock time in polls, by stack |
/// | `/debug/pprof/goroutine` | tasks, by where they wait |
/// | `/debug/pprof/threadcreate` | threads, by name |
/// | `/debug/pprof/trace` | a timeline of polls, for Perfetto |
/// | `/debug/tasks` | tasks one by one |
/// | `/debug/spans` | time in spans |
/// | `/debug/stalls` | the newest stalls, and those to come |
/// | `/debug/captures` | what was captured and kept; takes one more, and deletes |
/// | `/debug/diff` | what changed between two of these |
/// | `/debug/diagnosis` | verdicts over handlers |
/// | `/debug/doctor` | what build and machine can show, and what mends it |
/// | `/debug/memory` | where the memory of the process is |
/// | `/debug/handlers` | the ledger |
/// | `/metrics` | the same for Prometheus |
pub(crate) fn router(instance: &Instance) -> Router {
    let access = Access::new(instance.config.token.clone());
    // Not even a link of another site may start a capture, or take one of the streams that there are.
    let captures = Router::new()
        .route("/debug/live", get(live::live).with_state(Live::new(instance)))
        .route("/debug/pprof/profile", get(profiles::cpu))
        .route("/debug/pprof/heap", get(profiles::heap))
        .route("/debug/pprof/allocs", get(profiles::allocs))
        .route("/debug/pprof/trace", get(timeline::trace))
        .route("/debug/fgprof", get(profiles::wall))
        .route("/debug/spans", get(profiles::spans))
        .layer(from_fn(access::own_pages_only));
    Router::new()
        .merge(captures)
        .route("/debug/", get(page::page))
        .route("/debug", get(index::to_debug))
        .route("/debug/pprof/", get(index::pprof))
        .route("/debug/pprof", get(index::to_pprof))
        .route("/debug/pprof/cmdline", get(index::cmdline))
        .route("/debug/pprof/block", get(profiles::block))
        .route("/debug/pprof/mutex", get(profiles::mutex))
        .route("/debug/pprof/symbol", get(symbol::get).post(symbol::post))
        .route("/debug/pprof/goroutine", get(tasks::goroutine))
        .route("/debug/pprof/threadcreate", get(threads::threadcreate))
        .route("/debug/tasks", get(tasks::tasks))
        .route("/debug/stalls", get(stalls::stalls))
        .route("/debug/captures", get(captures::list).post(captures::take))
        .route("/debug/captures/{file}", get(captures::file).delete(captures::delete))
        .route("/debug/diff", get(captures::diff))
        .route("/debug/diagnosis", get(diagnosis::diagnosis))
        .route("/debug/doctor", get(doctor::doctor))
        .route("/debug/memory", get(memory::memory))
        .route("/debug/handlers", get(ledger::handlers))
        .route("/metrics", get(ledger::metrics))
        .fallback(unknown)
        .with_state(instance.clone())
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
