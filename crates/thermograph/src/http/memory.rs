//! The memory of the process over HTTP.

use std::collections::HashMap;

use axum::{
    Json,
    extract::Query,
    response::{IntoResponse as _, Response},
};
use http::HeaderMap;

use super::{
    HttpError,
    params::{JSON_OR_TEXT, Params},
};
use crate::memory::Memory;

/// `/debug/memory`: `format` json or text (json, or what `accept` asks for).
pub(crate) async fn memory(
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["format"])?;
    let memory = Memory::now();
    if params.format(&headers, &JSON_OR_TEXT)? {
        return Ok(memory.text().into_response());
    }
    Ok(Json(memory).into_response())
}
