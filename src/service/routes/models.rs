//! `/v1/models`: the models that can be used.

use std::time::UNIX_EPOCH;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use crate::service::{Service, engine::Model, error::ApiError, upstream::Listed};

/// OpenAI's list object.
#[derive(Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Listed>,
}

/// `GET /v1/models`: local ones, then those that are upstream.
pub(super) async fn list(State(service): State<Service>) -> Json<List> {
    let local = service.engine().models().map(listed);
    let data = local.chain(service.inner.upstreams.models()).collect();
    Json(List { object: "list", data })
}

/// `GET /v1/models/{id}`; the name may have slashes in it, as those of model hubs do.
pub(super) async fn one(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Listed>, ApiError> {
    if let Some(route) = service.inner.upstreams.route(&id) {
        return Ok(Json(route.listed().clone()));
    }
    let model = service.engine().model(&id).map_err(|why| ApiError::no_model(&id, why))?;
    Ok(Json(listed(model)))
}

fn listed(model: &Model) -> Listed {
    let created = model.created().duration_since(UNIX_EPOCH).unwrap_or_default();
    Listed::new(model.name(), created.as_secs())
}
