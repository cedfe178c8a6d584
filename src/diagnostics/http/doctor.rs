//! The doctor over HTTP.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, header};

use super::{HttpError, params::Params};
use crate::diagnostics::Thermograph;

/// `/debug/doctor`: `format` json or text (json, or what `accept` asks for).
pub(crate) async fn doctor(
    State(thermograph): State<Thermograph>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["format"])?;
    let is_text = params.choice("format", &[("json", false), ("text", true)])?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let wants_text = accept.is_some_and(|accept| accept.starts_with("text/plain"));
    let examined = tokio::task::spawn_blocking(move || thermograph.doctor()).await;
    let examination =
        examined.map_err(|error| HttpError::internal(format!("the doctor failed: {error}")))?;
    if is_text || (wants_text && !params.has("format")) {
        let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let text = examination.text(|_, word| word.to_owned());
        return Ok((content_type, text).into_response());
    }
    Ok(Json(examination).into_response())
}
