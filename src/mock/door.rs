//! The mock's own door, `/mock`: how it behaves and what it has counted.

use axum::{Json, body::Bytes, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, request::Parts};
use serde::Serialize;

use super::{Mock, behaviour::Behaviour, counters::Counts, refusal::Refusal};

/// What the door shows.
#[derive(Serialize)]
pub(super) struct Shown {
    behaviour: Behaviour,
    counters: Counts,
}

/// A request as it came.
#[derive(Debug)]
pub(super) struct Recorded {
    head: Parts,
    body: Bytes,
}

/// The same for whoever asks.
#[derive(Serialize)]
pub(super) struct Last {
    method: String,
    uri: String,
    version: String,
    /// In the order in which they came, as far as their names differ.
    headers: Vec<(String, String)>,
    /// The body, where it is text.
    body: Option<String>,
    body_base64: String,
}

/// `GET /mock`.
pub(super) async fn show(State(mock): State<Mock>) -> Json<Shown> {
    Json(mock.shown())
}

/// `PATCH /mock`: the fields of the behaviour that change.
pub(super) async fn change(State(mock): State<Mock>, body: Bytes) -> Result<Json<Shown>, Refusal> {
    let change = serde_json::from_slice(&body).map_err(|error| Refusal::bad_json(&error))?;
    mock.change(change).map_err(Refusal::bad_change)?;
    Ok(Json(mock.shown()))
}

/// `GET /mock/last`: the newest request, where it was recorded.
pub(super) async fn last(State(mock): State<Mock>) -> Result<Json<Last>, Refusal> {
    let recorded = mock.recorded().ok_or_else(Refusal::not_recorded)?;
    Ok(Json(recorded.last()))
}

impl Mock {
    fn shown(&self) -> Shown {
        Shown { behaviour: self.manner().behaviour.clone(), counters: self.counters().counts() }
    }
}

impl Recorded {
    pub(super) fn new(head: Parts, body: Bytes) -> Self {
        Self { head, body }
    }

    fn last(&self) -> Last {
        let Parts { method, uri, version, headers, .. } = &self.head;
        Last {
            method: method.to_string(),
            uri: uri.to_string(),
            version: format!("{version:?}"),
            headers: texts(headers),
            body: std::str::from_utf8(&self.body).ok().map(str::to_owned),
            body_base64: STANDARD.encode(&self.body),
        }
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}
