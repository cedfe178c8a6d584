//! Tasks over HTTP.

use std::{collections::HashMap, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use thermograph_profile::flamegraph::Caption;

use super::{
    HttpError,
    params::{JSON_OR_TEXT, MAX_SECONDS, Params},
    profiles::{FORMATS, Format, MAX_ROUTE, Sent},
};
use crate::{capture::Window, instance::Instance, tasks::Tasks};

/// Most seconds in which tasks are asked.
const MAX_FULL: u64 = 10;

/// `/debug/tasks`: `format` json or text, which `accept: text/plain` asks for as well; `route`;
/// `full` to ask tasks where they wait, for `seconds` at most (1 to 10, 2), and `force` to end
/// somebody else's asking.
pub(crate) async fn tasks(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["format", "route", "full", "seconds", "force"])?;
    let wants_text = params.format(&headers, &JSON_OR_TEXT)?;
    let seconds = params.number("seconds", 2, 1..=MAX_FULL)?;
    let tasks = look(&instance, &params, Duration::from_secs(seconds)).await?;
    if wants_text {
        return Ok(tasks.report.to_string().into_response());
    }
    Ok(Json(tasks.report).into_response())
}

/// `/debug/pprof/goroutine`: as a profile; `format` pprof, svg or folded (pprof), or `debug` 1 for
/// stacks as text and 2 for all that is known of each task; with `seconds` (1 to 300, more are
/// clipped) and without `full`, what changes in them, as in Go; the rest as `/debug/tasks`.
pub(crate) async fn goroutine(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    let known = ["format", "debug", "route", "full", "seconds", "force"];
    let params = Params::of_profile(given, &known)?;
    let debug = params.debug()?;
    if debug != 0 && params.has("format") {
        let message = "debug=1 and 2 cannot be combined with format";
        return Err(HttpError::bad_request(message.to_owned()));
    }
    let is_full = params.choice("full", &[("false", false), ("true", true)])?;
    let mut sent = Sent::of(&params, "goroutine", Caption::tasks(), &FORMATS)?;
    if !is_full && params.has("seconds") {
        return changes(&instance, &params, sent).await;
    }
    let (window, clipped) = params.clipped_window(2, MAX_FULL)?;
    sent.clipped = clipped;
    let tasks = look(&instance, &params, window.duration).await?;
    if debug > 1 {
        let told: Vec<_> = tasks.report.tasks.iter().map(|task| format!("{task}\n")).collect();
        return Ok(told.concat().into_response());
    }
    if debug != 0 {
        sent.format = Format::Text;
    }
    sent.respond(move || tasks.profile()).await
}

/// The tasks that came and went within the next seconds.
async fn changes(
    instance: &Instance,
    params: &Params,
    mut sent: Sent,
) -> Result<Response, HttpError> {
    if params.debug()? != 0 {
        let message = "debug=1 and 2 cannot be combined with seconds";
        return Err(HttpError::bad_request(message.to_owned()));
    }
    let (window, clipped) = params.clipped_window(30, MAX_SECONDS)?;
    sent.clipped = clipped;
    let before = now(instance, None).await?.profile();
    tokio::time::sleep(window.duration).await;
    let after = now(instance, None).await?;
    sent.respond(move || after.profile().since(&before)).await
}

async fn look(
    instance: &Instance,
    params: &Params,
    duration: Duration,
) -> Result<Tasks, HttpError> {
    let route = params.text("route", MAX_ROUTE)?;
    let is_full = params.choice("full", &[("false", false), ("true", true)])?;
    let force = params.choice("force", &[("false", false), ("true", true)])?;
    if !is_full && (params.has("seconds") || params.has("force")) {
        let message =
            "seconds and force are for full=true: without it, the answer is there at once";
        return Err(HttpError::bad_request(message.to_owned()));
    }
    if is_full {
        let window = Window { duration, force };
        return Ok(Tasks::asked(instance, route, window).await?);
    }
    now(instance, route).await
}

async fn now(instance: &Instance, route: Option<String>) -> Result<Tasks, HttpError> {
    let instance = instance.clone();
    let looked = tokio::task::spawn_blocking(move || Tasks::of(&instance, route.as_deref())).await;
    looked.map_err(|error| HttpError::internal(format!("naming failed: {error}")))
}
