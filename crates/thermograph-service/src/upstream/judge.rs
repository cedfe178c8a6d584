//! Errors of an upstream, in its status or inside a 200, told apart from its answers.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;
use memchr::memmem;
use thermograph_codec::events;

use super::{
    Answer, Answered, Endpoint, GatewayConfig, StatusRule, Upstream,
    failure::Cause,
    media::Media,
    receive::{Gathered, Reply, WHOLE},
};
use crate::{
    error::ApiError,
    usage::{Tally, error_of_event, inspect},
};

/// Facts of a request by which its answer is judged.
pub(super) struct Asked<'a> {
    pub(super) gateway: &'a GatewayConfig,
    /// True if the upstream was given the client's own key.
    pub(super) has_client_key: bool,
    pub(super) endpoint: Endpoint,
    /// Tokens of the prompt, for upstreams that do not report them.
    pub(super) prompt_tokens: u64,
    /// True if the upstream was asked for the usage of a stream and the client was not to know.
    pub(super) hides_usage: bool,
    pub(super) upstream_time: Duration,
}

/// An answer that is no failure.
pub(super) struct Judged {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) gathered: Gathered,
    /// Has counted an answer that is there whole.
    pub(super) tally: Tally,
}

/// Returns the answer, or the failure that it stands for.
pub(super) fn judge(
    upstream: &Arc<Upstream>,
    reply: Reply,
    asked: &Asked<'_>,
) -> Result<Judged, Cause> {
    let Reply { mut status, mut headers, mut gathered } = reply;
    if asked.hides_usage && refuses_stream_options(status, &gathered) {
        return Err(Cause::StreamOptions);
    }
    if status.is_redirection() {
        return Err(Cause::NoAnswer("a redirect"));
    }
    let media = Media::of(&headers);
    let mut tally = Tally::new(asked.prompt_tokens, media.form(asked.endpoint));
    let error = if status.is_success() {
        error_within(media, &gathered, asked.endpoint, &mut tally)?
    } else {
        None
    };
    if let Some((said, error)) = error {
        status = said;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        gathered = Gathered::Whole(error);
    }
    let is_elsewhere = StatusRule::any(&asked.gateway.elsewhere_on, status);
    if status == StatusCode::UNAUTHORIZED && upstream.has_key {
        return Err(Cause::Unauthorized);
    }
    // Another upstream would say the same of a key that is the client's.
    let is_elsewhere =
        is_elsewhere && !(status == StatusCode::UNAUTHORIZED && asked.has_client_key);
    if !is_elsewhere && !StatusRule::any(&asked.gateway.retry_on, status) {
        return Ok(Judged { status, headers, gathered, tally });
    }
    let Gathered::Whole(bytes) = gathered else {
        return Err(Cause::Broken(format!("{status} with more than {WHOLE} bytes")));
    };
    let answer = Box::new(Answer {
        status,
        headers,
        content: Answered::Whole(bytes),
        upstream: Arc::clone(upstream),
        tally,
        hides_usage: asked.hides_usage,
        upstream_time: asked.upstream_time,
    });
    Err(if is_elsewhere { Cause::Elsewhere(answer) } else { Cause::Status(answer) })
}

/// The error that an answer of 200 is, with the status that it speaks of.
fn error_within(
    media: Media<'_>,
    gathered: &Gathered,
    endpoint: Endpoint,
    tally: &mut Tally,
) -> Result<Option<(StatusCode, Bytes)>, Cause> {
    let (status, error) = match gathered {
        Gathered::Whole(bytes) if bytes.trim_ascii().is_empty() => {
            return Err(Cause::NoAnswer("an empty body"));
        }
        Gathered::Whole(bytes) | Gathered::Begun { first: bytes, is_events: false, .. }
            if media.is_html(bytes) =>
        {
            return Err(Cause::NoAnswer("a page of HTML"));
        }
        // A stream without an event: some servers say in JSON what went wrong.
        Gathered::Whole(bytes) if media.is_events() => {
            let status = inspect(bytes).error.ok_or(Cause::NoAnswer("no event"))?;
            (Some(status), Cow::Borrowed(&bytes[..]))
        }
        Gathered::Whole(bytes) => {
            let facts = tally.whole(bytes);
            if !facts.is_answer && media.must_be_json(endpoint) {
                return Err(Cause::NoAnswer("no JSON object"));
            }
            (facts.error, Cow::Borrowed(&bytes[..]))
        }
        Gathered::Begun { first, rest, is_events: true } => {
            let Some(event) = events::first(first, rest.is_end_stream()) else { return Ok(None) };
            if event.is_done() {
                return Err(Cause::NoAnswer("no event"));
            }
            (error_of_event(&event), event.data)
        }
        Gathered::Begun { .. } => return Ok(None),
    };
    Ok(status.map(|status| (status, body_of(status, &error))))
}

/// The body of an error: as it came, if it is JSON.
fn body_of(status: StatusCode, error: &[u8]) -> Bytes {
    if inspect(error).is_answer {
        return Bytes::copy_from_slice(error);
    }
    let message = String::from_utf8_lossy(error);
    ApiError::upstream(status, "error_event", &message).json().into()
}

/// Returns whether a request was refused for a field that the client has not sent.
fn refuses_stream_options(status: StatusCode, gathered: &Gathered) -> bool {
    let is_refusal = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
    match gathered {
        Gathered::Whole(bytes) => is_refusal && memmem::find(bytes, b"stream_options").is_some(),
        Gathered::Begun { .. } => false,
    }
}
