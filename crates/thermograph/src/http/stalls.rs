//! Stalls over HTTP: the newest, and those to come.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use http::HeaderMap;
use serde_json::json;
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{BroadcastStream, errors::BroadcastStreamRecvError},
};

use super::{HttpError, params::Params, profiles::MAX_ROUTE};
use crate::{
    instance::Instance,
    stall::{self, Record},
};

#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    Text,
    Events,
}

/// `/debug/stalls`: `format` json, text or events (json, or what `accept` asks for), `route`.
///
/// As server-sent events: an event `stall` when a stall was found and its stack has names, another
/// of the same `id` when it has ended, and an event `missed` with a number where a client was too
/// slow for all of them.
pub(crate) async fn stalls(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["format", "route"])?;
    let formats = [
        ("json", "application/json", Format::Json),
        ("text", "text/plain", Format::Text),
        ("events", "text/event-stream", Format::Events),
    ];
    let format = params.format(&headers, &formats)?;
    let route = params.text("route", MAX_ROUTE)?;
    let is_wanted =
        move |record: &Record| route.as_ref().is_none_or(|route| *record.handler.route == **route);
    let store = instance.stalls.store();
    if let Format::Events = format {
        let events = events(BroadcastStream::new(store.subscribe()), is_wanted);
        return Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response());
    }
    let mut newest = store.newest();
    newest.retain(|record| is_wanted(record));
    let named = tokio::task::spawn_blocking(move || {
        stall::name(&newest);
        newest
    });
    let named = named.await;
    let newest = named.map_err(|error| HttpError::internal(format!("naming failed: {error}")))?;
    let stalls = newest.iter().map(|record| record.stall());
    if let Format::Text = format {
        let lines: Vec<_> = stalls.map(|stall| format!("{stall}\n")).collect();
        return Ok(lines.concat().into_response());
    }
    let stalls: Vec<_> = stalls.collect();
    Ok(Json(json!({ "stalls": stalls })).into_response())
}

fn events(
    news: BroadcastStream<Arc<Record>>,
    is_wanted: impl Fn(&Record) -> bool + Send + 'static,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    let event = move |news: Result<Arc<Record>, BroadcastStreamRecvError>| match news {
        Ok(record) if is_wanted(&record) => {
            let event = Event::default().event("stall").id(record.id.to_string());
            event.json_data(record.stall()).ok()
        }
        Ok(_) => None,
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            Some(Event::default().event("missed").data(missed.to_string()))
        }
    };
    news.filter_map(event).map(Ok)
}
