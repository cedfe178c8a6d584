//! `/v1/models`: the models that can be used.

use std::{sync::Arc, time::UNIX_EPOCH};

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use thermograph_engine::{Model, Unavailable};

use super::openapi;
use crate::{caller::Caller, error::ApiError, state::AppState, store::Scope, upstream::Listed};

/// OpenAI's list object.
#[derive(Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Listed>,
}

/// `GET /v1/models`: local ones, then those that are upstream.
#[utoipa::path(
    get, path = "/v1/models", tag = "models",
    responses((status = 200, description = "those that can be used", body = openapi::Models)),
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    caller: Caller,
) -> Result<Json<List>, ApiError> {
    caller.must_be_allowed(Scope::Inference)?;
    let mut data: Vec<_> = state.engine.models().map(listed).collect();
    let mut others = state.upstreams.models();
    // What is here is not asked of others.
    others.retain(|other| state.engine.model(&other.id).is_err());
    data.append(&mut others);
    data.retain(|model| caller.may_use(&model.id));
    Ok(Json(List { object: "list", data }))
}

/// `GET /v1/models/{id}`; the name may have slashes in it, as those of model hubs do.
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "models",
    params(("id" = String, Path, description = "its name, which may have slashes in it")),
    responses(
        (status = 200, description = "it", body = openapi::Model),
        (status = 404, description = "no such model", body = openapi::Error),
    ),
)]
pub(super) async fn one(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Listed>, ApiError> {
    caller.must_be_allowed(Scope::Inference)?;
    caller.must_see(&id)?;
    let why = match state.engine.model(&id) {
        Ok(model) => return Ok(Json(listed(model))),
        Err(why) => why,
    };
    match state.upstreams.route(&id) {
        Some(route) => Ok(Json(route.listed(&id))),
        None => Err(missing(&state, &id, why)),
    }
}

/// Rejects a request for a model that is not there, or not known yet.
pub(super) fn missing(state: &AppState, model: &str, why: Unavailable<'_>) -> ApiError {
    if let Unavailable::Unknown = why
        && let Some(upstream) = state.upstreams.unlisted()
    {
        let message = format!(
            "the model `{model}` is not known yet: the upstream `{}` has not listed its models{}",
            upstream.name(),
            upstream.why_unlisted()
        );
        return ApiError::overloaded(message).retry_after(upstream.check_interval());
    }
    ApiError::no_model(model, why)
}

fn listed(model: &Model) -> Listed {
    let created = model.created().duration_since(UNIX_EPOCH).unwrap_or_default();
    Listed::new(model.name(), created.as_secs())
}
