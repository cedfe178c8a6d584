//! Errors of an upstream, in its status or inside a 200, told apart from its answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use memchr::memmem;

use super::{
    Answer, Answered, Endpoint, GatewayConfig, StatusRule, Upstream,
    failure::Cause,
    receive::{Gathered, Reply, WHOLE, is_event_stream},
};
use crate::service::{
    events,
    usage::{Form, Tally, inspect},
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
    let mut tally = Tally::new(asked.prompt_tokens, form(asked.endpoint, &headers));
    if status.is_success()
        && let Some((said, error)) = error_within(&headers, &gathered, &mut tally)?
    {
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
    headers: &HeaderMap,
    gathered: &Gathered,
    tally: &mut Tally,
) -> Result<Option<(StatusCode, Bytes)>, Cause> {
    let is_events = is_event_stream(headers);
    let (facts, error) = match gathered {
        Gathered::Whole(bytes) if bytes.is_empty() => {
            return Err(Cause::NoAnswer("an empty body"));
        }
        Gathered::Whole(_) if is_html(headers) => {
            return Err(Cause::NoAnswer("a page of HTML"));
        }
        Gathered::Whole(bytes) if is_events => {
            events::data(bytes).for_each(|event| tally.event(&inspect(&event)));
            let Some(first) = events::data(bytes).next() else {
                return Err(Cause::NoAnswer("no event"));
            };
            (inspect(&first), Bytes::copy_from_slice(&first))
        }
        Gathered::Whole(bytes) => (tally.whole(bytes), bytes.clone()),
        Gathered::Begun { first, is_events: true, .. } => {
            let Some(first) = events::first(first) else { return Ok(None) };
            (inspect(&first), Bytes::copy_from_slice(&first))
        }
        Gathered::Begun { .. } if is_html(headers) => {
            return Err(Cause::NoAnswer("a page of HTML"));
        }
        Gathered::Begun { .. } => return Ok(None),
    };
    let status = facts.error.and_then(|status| StatusCode::from_u16(status).ok());
    Ok(status.map(|status| (status, error)))
}

fn is_html(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.to_ascii_lowercase().starts_with(b"text/html"))
}

/// Form of an answer with these headers, by which its tokens are counted.
fn form(endpoint: Endpoint, headers: &HeaderMap) -> Form {
    if is_event_stream(headers) {
        return Form::Events;
    }
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_json = content_type.is_none_or(|value| memmem::find(value, b"json").is_some());
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Form::Opaque;
    }
    let is_text = content_type.is_some_and(|value| value.starts_with(b"text/"));
    match endpoint.form() {
        form if is_json => form,
        Form::Text if is_text => Form::Plain,
        _ => Form::Opaque,
    }
}

/// Returns whether a request was refused for a field that the client has not sent.
fn refuses_stream_options(status: StatusCode, gathered: &Gathered) -> bool {
    let is_refusal = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
    match gathered {
        Gathered::Whole(bytes) => is_refusal && memmem::find(bytes, b"stream_options").is_some(),
        Gathered::Begun { .. } => false,
    }
}
