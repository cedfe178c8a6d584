//! `/v1/models`: the models that the mock plays. Answered at once, however the mock behaves.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use super::{Mock, refusal::Refusal};

/// `OpenAI`'s list object.
#[derive(Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Entry>,
}

/// `OpenAI`'s model object.
#[derive(Serialize)]
pub(super) struct Entry {
    id: String,
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    owned_by: &'static str,
}

/// `GET /v1/models`.
pub(super) async fn list(State(mock): State<Mock>) -> Json<List> {
    let manner = mock.manner();
    let data = manner.behaviour.models.iter().map(|name| mock.entry(name)).collect();
    Json(List { object: "list", data })
}

/// `GET /v1/models/{id}`; an id may have slashes.
pub(super) async fn one(
    State(mock): State<Mock>,
    Path(id): Path<String>,
) -> Result<Json<Entry>, Refusal> {
    mock.manner().check_model(&id)?;
    Ok(Json(mock.entry(&id)))
}

impl Mock {
    fn entry(&self, name: &str) -> Entry {
        let created = self.created();
        Entry { id: name.to_owned(), object: "model", created, owned_by: "thermograph" }
    }
}
