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
    let mut data: Vec<_> = service.engine().models().map(listed).collect();
    let mut others = service.inner.upstreams.models();
    // What is here is not asked of others.
    others.retain(|other| service.engine().model(&other.id).is_err());
    data.append(&mut others);
    Json(List { object: "list", data })
}

/// `GET /v1/models/{id}`; the name may have slashes in it, as those of model hubs do.
pub(super) async fn one(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Listed>, ApiError> {
    let why = match service.engine().model(&id) {
        Ok(model) => return Ok(Json(listed(model))),
        Err(why) => why,
    };
    match service.inner.upstreams.route(&id) {
        Some(route) => Ok(Json(route.listed().clone())),
        None => Err(ApiError::no_model(&id, why)),
    }
}

fn listed(model: &Model) -> Listed {
    let created = model.created().duration_since(UNIX_EPOCH).unwrap_or_default();
    Listed::new(model.name(), created.as_secs())
}
