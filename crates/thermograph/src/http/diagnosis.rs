//! Verdicts over HTTP.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Query, State},
    response::{Html, IntoResponse, Response},
};
use http::HeaderMap;

use super::{HttpError, params::Params};
use crate::{instance::Instance, verdicts};

#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    Text,
    Html,
}

/// `/debug/diagnosis`: over the last five minutes, at once; with `seconds` (1 to 300) over the next
/// ones, in which CPU time is captured; `format` json, text or html (json, or what `accept` asks
/// for). A capture of CPU time that runs meanwhile shares its samples, so that `force` has nothing to
/// do.
pub(crate) async fn diagnosis(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["seconds", "format", "force"])?;
    let formats = [
        ("json", "application/json", Format::Json),
        ("text", "text/plain", Format::Text),
        ("html", "text/html", Format::Html),
    ];
    let format = params.format(&headers, &formats)?;
    let window = params.window(10)?;
    let diagnosis = if params.has("seconds") {
        verdicts::over(&instance, window).await?
    } else {
        verdicts::of_the_past(&instance).await?
    };
    Ok(match format {
        Format::Json => Json(diagnosis).into_response(),
        Format::Html => Html(diagnosis.html()).into_response(),
        Format::Text => diagnosis.text(|_, word| word.to_owned()).into_response(),
    })
}
