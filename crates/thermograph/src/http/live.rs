//! What happens now, as server-sent events.

use std::{collections::HashMap, convert::Infallible};

use axum::{
    extract::{Query, State},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use tokio_stream::{StreamExt as _, wrappers::errors::BroadcastStreamRecvError};

use super::{HttpError, params::Params};
use crate::live::{Live, News, Seat};

/// `/debug/live`: an event `lanes` ten times a second, with what each worker does; an event
/// `ledger` once a second, with what each handler costs; `stall` as in `/debug/stalls`; `missed`
/// with a number where a client was too slow for all of them.
pub(crate) async fn live(
    State(live): State<Live>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    Params::new(given, &[])?;
    let Some(Seat { news, taken }) = live.sit() else {
        let message = format!(
            "{} viewers look already, and more are not let in: close one of them",
            Live::SEATS
        );
        return Err(HttpError::unavailable(message));
    };
    let events = news.map(move |news| {
        // Given back when the client leaves and the stream is dropped.
        let _taken = &taken;
        Ok::<_, Infallible>(event(news))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

fn event(news: Result<News, BroadcastStreamRecvError>) -> Event {
    match news {
        Ok(News { event, id, data }) => {
            let event = Event::default().event(event).data(data);
            match id {
                Some(id) => event.id(id.to_string()),
                None => event,
            }
        }
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            Event::default().event("missed").data(missed.to_string())
        }
    }
}
