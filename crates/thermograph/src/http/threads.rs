//! Threads over HTTP, where Go's tools look for them.

use std::collections::HashMap;

use axum::{
    extract::{Query, State},
    response::Response,
};

use super::HttpError;
use crate::instance::Instance;

/// `/debug/pprof/threadcreate`: the threads of the process by name, now, or those that came within
/// the next `seconds` (1 to 300, more are clipped); `format` pprof, svg or folded (pprof), `debug`
/// for text. The code that created a thread is not known.
#[cfg(sampler)]
pub(crate) async fn threadcreate(
    State(_): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    use thermograph_profile::flamegraph::Caption;

    use super::{
        params::{MAX_SECONDS, Params},
        profiles::{FORMATS, Format, Sent},
    };
    let params = Params::of_profile(given, &["seconds", "debug", "format"])?;
    let is_text = params.debug()? != 0;
    if is_text && (params.has("seconds") || params.has("format")) {
        let message = "debug=1 cannot be combined with seconds or format";
        return Err(HttpError::bad_request(message.to_owned()));
    }
    let (window, clipped) = params.clipped_window(30, MAX_SECONDS)?;
    let mut sent = Sent::of(&params, "threadcreate", Caption::threads(), &FORMATS)?;
    sent.clipped = clipped;
    if is_text {
        sent.format = Format::Text;
    }
    let mut before = None;
    if params.has("seconds") {
        before = Some(seen().await?);
        tokio::time::sleep(window.duration).await;
    }
    let after = seen().await?;
    sent.respond(move || match before {
        None => after,
        Some(before) => after.since(&before),
    })
    .await
}

#[cfg(sampler)]
async fn seen() -> Result<thermograph_profile::Profile, HttpError> {
    let seen = tokio::task::spawn_blocking(profile).await;
    seen.map_err(|error| HttpError::internal(format!("the threads could not be read: {error}")))
}

/// One sample for each name of a thread.
#[cfg(sampler)]
fn profile() -> thermograph_profile::Profile {
    use std::{
        collections::BTreeMap,
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use thermograph_profile::{Frame, Location, Profile, Sample, ValueType, folded::pool};
    use thermograph_sampler::Thread;
    let mut names = BTreeMap::<String, i64>::new();
    for thread in Thread::all() {
        // It may have ended since.
        let Some(name) = thread.name() else { continue };
        *names.entry(pool(&name).to_owned()).or_default() += 1;
    }
    let count = ValueType { kind: "threadcreate", unit: "count" };
    let sample = |(name, threads): (String, i64)| Sample {
        stack: vec![Arc::new(Location::named(Frame::named(&format!("thread {name}"))))],
        values: vec![threads],
        labels: vec![("thread", name)],
    };
    Profile {
        values: vec![count],
        samples: names.into_iter().map(sample).collect(),
        start: SystemTime::now(),
        duration: Duration::ZERO,
        period: Some((count, 1)),
        dropped: 0,
    }
}

/// As above, where threads have no names.
#[cfg(not(sampler))]
pub(crate) async fn threadcreate(
    State(_): State<Instance>,
    Query(_): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    let message = "Unknown profile: threads are read on Linux, on x86-64 or ARM64, only";
    Err(HttpError::not_found(message.to_owned()))
}
