//! The way of a request through the mock.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use thermograph_common::task;
use tokio::time;

use super::{
    Mock,
    answer::Answer,
    content::{Content, Fault},
    counters::{End, Turn},
    door::Recorded,
    form::Form,
    manner::{Lot, Manner},
    refusal::{Dialect, Refusal},
};

/// Largest body.
pub(super) const BODY_LIMIT: usize = 64 << 20;
/// Bodies longer than this many bytes are parsed off the workers.
const SMALL_BODY: usize = 64 << 10;

const NO_BUFFERING: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// Answer of a model to a body.
#[derive(Clone, Copy)]
pub(super) enum Ask {
    /// The body is JSON.
    Json(AskJson),
    /// The body is a form.
    Form(AskForm),
}

pub(super) type AskJson = fn(&[u8], &Manner) -> Result<Content, Refusal>;
pub(super) type AskForm = fn(&Form, &Manner) -> Result<Content, Refusal>;

/// Why there is no answer.
enum Early {
    Refused(Refusal),
    /// The client broke off in the middle of the request; nobody reads what is answered.
    Left,
}

/// Answers a request as the mock behaves. Dropped before its end, the client has left.
pub(super) async fn answer(mock: Mock, request: Request, ask: Ask, dialect: Dialect) -> Response {
    let mut turn = Turn::begin(mock.counters());
    let manner = mock.manner();
    match begin(&mock, &manner, request, ask, &mut turn).await {
        Ok((content, fault)) => respond(&mock, &manner, content, fault, turn),
        Err(Early::Refused(refusal)) => {
            turn.ends(End::Failed);
            refusal.respond(dialect)
        }
        Err(Early::Left) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// All that comes before an answer begins.
async fn begin(
    mock: &Mock,
    manner: &Arc<Manner>,
    request: Request,
    ask: Ask,
    turn: &mut Turn,
) -> Result<(Content, Option<Fault>), Early> {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
    if manner.behaviour.record {
        mock.record(Recorded::new(head, body.clone()));
    }
    let content = ask.content(content_type.as_ref(), body, manner).await?;
    turn.place = manner.place().await;
    let lot = manner.lot();
    if lot == Lot::Hang {
        turn.hangs();
        mock.stopped().await;
        return Err(Refusal::stopping().into());
    }
    let latency = manner.behaviour.latency.draw();
    if !latency.is_zero() {
        time::sleep(latency).await;
    }
    match lot {
        Lot::Hang | Lot::Refuse => Err(Refusal::as_told(&manner.behaviour).into()),
        Lot::Answer(fault) => Ok((content, fault)),
    }
}

impl Ask {
    async fn content(
        self,
        content_type: Option<&HeaderValue>,
        body: Bytes,
        manner: &Arc<Manner>,
    ) -> Result<Content, Refusal> {
        match self {
            Self::Json(ask) if body.len() <= SMALL_BODY => ask(&body, manner),
            Self::Json(ask) => {
                let manner = manner.clone();
                let parsed = task::spawn_blocking("parse", move || ask(&body, &manner)).await;
                parsed.map_err(|error| Refusal::internal(error.to_string()))?
            }
            Self::Form(ask) => ask(&Form::read(content_type, body).await?, manner),
        }
    }
}

async fn read(body: Body) -> Result<Bytes, Early> {
    let read = Limited::new(body, BODY_LIMIT).collect().await;
    let whole = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Early::Refused(Refusal::too_large(BODY_LIMIT))
        } else {
            Early::Left
        }
    })?;
    Ok(whole.to_bytes())
}

impl From<Refusal> for Early {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn respond(
    mock: &Mock,
    manner: &Manner,
    content: Content,
    fault: Option<Fault>,
    turn: Turn,
) -> Response {
    let media = match &content {
        Content::Whole(media, _) => Some(*media),
        Content::Stream(_) => None,
    };
    let fault = fault.map(|fault| (fault, manner.tokens_before(fault)));
    let answer = Answer::new(content, &manner.behaviour, fault, turn, mock.stop());
    let body = Body::new(answer);
    if let Some(media) = media {
        return ([(header::CONTENT_TYPE, HeaderValue::from_static(media))], body).into_response();
    }
    let of_streams = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        NO_BUFFERING,
    ];
    (of_streams, body).into_response()
}
