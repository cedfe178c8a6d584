//! The bodies of requests, as all routes take them.

use std::{convert::Infallible, future::poll_fn, mem, pin::pin, task::Poll, time::Duration};

use axum::{body::Body, extract::FromRequestParts};
use bytes::Bytes;
use bytesize::ByteSize;
use http::{HeaderMap, HeaderValue, header, request::Parts};
use thermograph_codec::{Codec, CodecError};
use tokio::time::{self, Instant};

use super::object;
use crate::{
    body::{BodyError, Encoding, ReadBody, Undecoded, as_usize},
    call::Call,
    caller::Caller,
    entrance::Admitted,
    error::ApiError,
    state::AppState,
};

/// Bodies longer than this many bytes are parsed off the workers: above, parsing takes more than
/// a tenth of a millisecond.
const SMALL_BODY: usize = 32 << 10;

/// Who has not sent a body within this time gives the place of its request back until it is there.
const PROMPT: Duration = Duration::from_secs(1);

/// The headers of a request, taken out of it and not copied: an extractor that looks at headers
/// has to come before this one. All else that a request says is in its body: a query is ignored.
pub(super) struct Headers(pub(super) HeaderMap);

impl<S: Sync> FromRequestParts<S> for Headers {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if parts.uri.query().is_some() {
            // Not shown: there may be a key in it.
            tracing::debug!(path = parts.uri.path(), "query of the request ignored");
        }
        Ok(Self(mem::take(&mut parts.headers)))
    }
}

/// Lets a request in, and reads it: in JSON, whatever the client speaks.
pub(super) async fn enter_json(
    state: &AppState,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ReadBody, Call), ApiError> {
    let codec = Codec::of_request(headers)?;
    let (mut body, call) = enter(state, caller, headers, body).await?;
    if codec != Codec::Json {
        body = Box::pin(to_json(state, call.started(), codec, body)).await?;
    }
    // All endpoints read structs.
    object::check(&body.bytes)?;
    Ok((body, call))
}

/// Lets a request in, and reads it. What is rare is boxed, so that the futures of all requests are small.
pub(super) async fn enter(
    state: &AppState,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ReadBody, Call), ApiError> {
    let started = Instant::now();
    let encoding = Encoding::of(headers)?;
    let entrance = &state.entrance;
    let admitted = entrance.admit(caller).await?;
    let mut reading = pin!(state.bodies.read(body, declared_length(headers)));
    // As a rule it has come with the head: no timers for it then.
    let at_once = poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await;
    let (mut body, admitted) = match at_once {
        Poll::Ready(body) => (body?, admitted),
        Poll::Pending => Box::pin(late(state, caller, started, reading, admitted)).await?,
    };
    if let Some(encoding) = encoding {
        body = Box::pin(decompressed(state, started, encoding, body)).await?;
    }
    Ok((body, Call::new(started, admitted)))
}

/// Reads the rest of a body. A request whose client sends slowly holds no place meanwhile.
async fn late(
    state: &AppState,
    caller: &Caller,
    started: Instant,
    reading: impl Future<Output = Result<ReadBody, BodyError>>,
    admitted: Admitted,
) -> Result<(ReadBody, Admitted), ApiError> {
    let mut reading = pin!(state.received_in_time(started, reading));
    if let Ok(body) = time::timeout(PROMPT, &mut reading).await {
        return Ok((body?, admitted));
    }
    drop(admitted);
    Ok((reading.await?, state.entrance.admit(caller).await?))
}

/// Decompresses a body.
async fn decompressed(
    state: &AppState,
    started: Instant,
    encoding: Encoding,
    body: ReadBody,
) -> Result<ReadBody, ApiError> {
    let bodies = &state.bodies;
    let (limit, bytes) = (bodies.limit(), body.bytes.clone());
    let decode = move || {
        encoding.decode(&bytes, as_usize(limit)).map_err(|error| match error {
            Undecoded::TooLarge => ApiError::too_large(limit),
            Undecoded::Invalid(error) => {
                let message = format!("the body is not what content-encoding says: {error}");
                ApiError::bad_request(None, message)
            }
        })
    };
    // However few bytes there are: they may become many.
    let decoding = async { state.engine.cpu().run(decode).await? };
    let bytes = state.in_time(started, decoding).await?;
    Ok(bodies.replace(body, bytes)?)
}

/// Translates a body to JSON.
async fn to_json(
    state: &AppState,
    started: Instant,
    codec: Codec,
    body: ReadBody,
) -> Result<ReadBody, ApiError> {
    let bodies = &state.bodies;
    let limit = bodies.limit();
    let translate = move |bytes: Bytes| {
        codec
            .transcode(&bytes, Codec::Json, as_usize(limit))
            .map_err(|error| refused(codec, &error, limit))
    };
    let translating = parse(state, body.bytes.clone(), translate);
    let json = state.in_time(started, translating).await?;
    Ok(bodies.replace(body, json)?)
}

/// Parses a body, a large one off the workers.
pub(super) async fn parse<T: Send + 'static>(
    state: &AppState,
    bytes: Bytes,
    parse: impl FnOnce(Bytes) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes.len() <= SMALL_BODY {
        return parse(bytes);
    }
    state.engine.cpu().run(move || parse(bytes)).await?
}

/// Whether the client takes an answer in anything that there is.
pub(super) fn check_accept(headers: &HeaderMap) -> Result<(), ApiError> {
    if Codec::of_answer(headers).is_some() {
        return Ok(());
    }
    let found = headers.get_all(header::ACCEPT).iter().map(HeaderValue::to_str);
    let found: Vec<_> = found.filter_map(Result::ok).collect();
    Err(ApiError::not_acceptable(&found.join(", ")))
}

fn refused(codec: Codec, error: &CodecError, limit: ByteSize) -> ApiError {
    if error.is_too_large() {
        return ApiError::too_large(limit);
    }
    let message = format!("the body cannot be read as {}: {error}", codec.media_type());
    ApiError::bad_request(None, message)
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
