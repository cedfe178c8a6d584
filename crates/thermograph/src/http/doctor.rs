//! The doctor over HTTP.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use http::HeaderMap;

use super::{
    HttpError,
    params::{JSON_OR_TEXT, Params},
};
use crate::{doctor::Examination, instance::Instance};

/// `/debug/doctor`: `format` json or text (json, or what `accept` asks for).
pub(crate) async fn doctor(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["format"])?;
    let wants_text = params.format(&headers, &JSON_OR_TEXT)?;
    let examined = tokio::task::spawn_blocking(move || Examination::of(&instance)).await;
    let examination =
        examined.map_err(|error| HttpError::internal(format!("the doctor failed: {error}")))?;
    if wants_text {
        return Ok(examination.text(|_, word| word.to_owned()).into_response());
    }
    Ok(Json(examination).into_response())
}
