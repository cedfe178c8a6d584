//! The ledger over HTTP.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};

use super::{
    HttpError,
    params::{JSON_OR_TEXT, Params},
    profiles::MAX_ROUTE,
};
use crate::{handlers::LedgerReport, history::Back, instance::Instance, metrics};

/// How far back to look; the first is the default.
const WINDOWS: [(&str, Back); 4] =
    [("start", Back::All), ("1m", Back::Minute), ("5m", Back::FiveMinutes), ("15m", Back::Quarter)];

/// `/debug/handlers`: since the start, over the last minutes (`window` 1m, 5m or 15m), or over the
/// next `seconds` (1 to 300); `format` json or text, which `accept: text/plain` asks for as well;
/// `route`.
pub(crate) async fn handlers(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["seconds", "window", "format", "route"])?;
    let wants_text = params.format(&headers, &JSON_OR_TEXT)?;
    let route = params.text("route", MAX_ROUTE)?;
    let back = params.choice("window", &WINDOWS)?;
    if params.has("window") && params.has("seconds") {
        let message = "window (the past) cannot be combined with seconds (the future)";
        return Err(HttpError::bad_request(message.to_owned()));
    }
    let history = &instance.history;
    let before = if params.has("seconds") {
        let before = history.now();
        tokio::time::sleep(params.window(1)?.duration).await;
        Some(Arc::new(before))
    } else {
        history.before(back)
    };
    let mut report = match before {
        Some(before) => instance.ledger().snapshot().since(&before.ledger).report(),
        None => instance.ledger().report(),
    };
    if let Some(route) = route {
        report.handlers.retain(|row| row.route == route);
    }
    if wants_text {
        return Ok(report.to_string().into_response());
    }
    Ok(Json::<LedgerReport>(report).into_response())
}

/// How long the app's own metrics are waited for.
const RENDERING: Duration = Duration::from_secs(1);

/// `/metrics`, in Prometheus' text format.
///
/// The app's own metrics are rendered on another thread: one that waits for a lock of the app's must
/// not keep the rest from being told. While they take longer than a second, they are left out.
pub(crate) async fn metrics(
    State(instance): State<Instance>,
) -> Result<impl IntoResponse, HttpError> {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let ours = instance.clone();
    // Where a lock is waited for, names are looked up.
    let rendered = tokio::task::spawn_blocking(move || metrics::render(&ours)).await;
    let failed = |error| HttpError::internal(format!("rendering metrics failed: {error}"));
    let mut text = rendered.map_err(failed)?;
    text.push_str(&of_app(instance).await);
    Ok((content_type, text))
}

/// The app's own metrics, or a comment that says why they are missing.
async fn of_app(instance: Instance) -> String {
    let Ok(permit) = Arc::clone(&instance.rendering).try_acquire_owned() else {
        return "# the app's own metrics are missing: they are still being rendered\n".to_owned();
    };
    let rendered = tokio::task::spawn_blocking(move || {
        let text = metrics::render_of_app(&instance);
        drop(permit);
        text
    });
    match tokio::time::timeout(RENDERING, rendered).await {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => "# the app's own metrics are missing: rendering them panicked\n".to_owned(),
        Err(_) => "# the app's own metrics are missing: rendering them takes too long\n".to_owned(),
    }
}
