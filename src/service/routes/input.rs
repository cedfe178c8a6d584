//! The bodies of requests, as all routes take them.

use std::{pin::pin, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use tokio::time::{self, Instant};

use crate::service::{Service, body::ReadBody, call::Call, error::ApiError};

/// Bodies longer than this many bytes are parsed off the workers: above, parsing takes more than
/// a tenth of a millisecond.
const SMALL_BODY: usize = 32 << 10;

/// Who has not sent a body within this time gives the place of its request back until it is there.
const PROMPT: Duration = Duration::from_secs(1);

/// Lets a request in, and reads it. Who sends slowly holds no place meanwhile.
pub(super) async fn enter(
    service: &Service,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ReadBody, Call), ApiError> {
    let started = Instant::now();
    let entrance = &service.inner.entrance;
    let admitted = entrance.admit().await?;
    let mut reading = pin!(service.in_time(started, read(service, headers, body)));
    if let Ok(body) = time::timeout(PROMPT, &mut reading).await {
        return Ok((body?, Call::new(started, admitted)));
    }
    drop(admitted);
    let body = reading.await?;
    Ok((body, Call::new(started, entrance.admit().await?)))
}

/// Reads a body that claims to be JSON.
async fn read(service: &Service, headers: &HeaderMap, body: Body) -> Result<ReadBody, ApiError> {
    check_content_type(headers)?;
    service.inner.bodies.read(body, declared_length(headers)).await
}

/// Parses a body, a large one off the workers.
pub(super) async fn parse<T: Send + 'static>(
    service: &Service,
    bytes: Bytes,
    parse: impl FnOnce(Bytes) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes.len() <= SMALL_BODY {
        return parse(bytes);
    }
    service.engine().cpu().run(move || parse(bytes)).await?
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(found) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let found = found.to_str().unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::wrong_content_type(found))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
