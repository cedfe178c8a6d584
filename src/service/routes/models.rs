//! `/v1/models`: the models that can be used.

use std::time::UNIX_EPOCH;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use crate::service::{Service, engine::Model, error::ApiError};

/// OpenAI's list object.
#[derive(Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Entry>,
}

/// OpenAI's model object.
#[derive(Serialize)]
pub(super) struct Entry {
    id: String,
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    owned_by: &'static str,
}

/// `GET /v1/models`.
pub(super) async fn list(State(service): State<Service>) -> Json<List> {
    let data = service.engine().models().map(Entry::of).collect();
    Json(List { object: "list", data })
}

/// `GET /v1/models/{id}`.
pub(super) async fn one(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Entry>, ApiError> {
    let model = service.engine().model(&id).map_err(|why| ApiError::no_model(&id, why))?;
    Ok(Json(Entry::of(model)))
}

impl Entry {
    fn of(model: &Model) -> Self {
        let created = model.created().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: model.name().to_owned(),
            object: "model",
            created: created.as_secs(),
            owned_by: "thermograph",
        }
    }
}
