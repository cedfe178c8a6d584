//! Answers that are kept whole: in a chat, of a completion, a ranking; streams as streams.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::de::IgnoredAny;
use thermograph_codec::events;

use super::shelf::{Keep, Way, age, now};
use crate::{
    call::Call,
    usage::{Usage, error_of_event, inspect},
};

/// An answer as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    made: u64,
    status: StatusCode,
    content_type: HeaderValue,
    etag: HeaderValue,
    body: Bytes,
    /// The tokens that it has used, if they are counted.
    usage: Option<Usage>,
    /// When to come again, where it is a refusal.
    retry: Option<Arc<HeaderMap>>,
}

/// Bytes of a usage as it is written.
const USAGE: usize = 3 * 8 + 1;
/// Bit of the length of a type that says whether a usage follows.
const HAS_USAGE: u32 = 1 << 31;
/// What a refusal says about coming again.
const RETRY: [HeaderName; 3] = [
    header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
];
/// How alike two questions are that one answer does for.
const SIMILARITY: HeaderName = HeaderName::from_static("x-thermograph-similarity");
/// Where an answer is from: `hit`, `miss`, `coalesced` or `semantic`.
pub(crate) const CACHE: HeaderName = HeaderName::from_static("x-cache");

impl Answer {
    pub(crate) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
        usage: Option<Usage>,
    ) -> Self {
        let json = HeaderValue::from_static("application/json");
        let content_type = headers.get(header::CONTENT_TYPE).cloned().unwrap_or(json);
        let pair = |name: HeaderName| Some((name.clone(), headers.get(&name)?.clone()));
        let retry = || Arc::new(RETRY.into_iter().filter_map(pair).collect());
        let retry = (!status.is_success()).then(retry);
        Self { made: now(), status, content_type, etag: etag(&body), body, usage, retry }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The tokens that it has used, if they are counted.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Whether it is whole, and is one: some upstreams say with 200 what went wrong.
    pub(super) fn is_good(&self) -> bool {
        if !self.is_stream() {
            let facts = inspect(&self.body);
            let is_json = serde_json::from_slice::<IgnoredAny>(&self.body).is_ok();
            return is_json && facts.is_answer && facts.error.is_none();
        }
        let mut is_done = false;
        let mut events = events::each(&self.body).inspect(|event| is_done = event.is_done());
        events.all(|event| error_of_event(&event).is_none()) && is_done
    }

    fn is_stream(&self) -> bool {
        self.content_type.as_bytes().starts_with(b"text/event-stream")
    }

    /// Gives it to one more.
    pub(crate) fn give(self, way: Way, call: Call) -> Response {
        let age = match way {
            Way::Hit | Way::Semantic(_) => age(self.made).as_secs(),
            Way::Coalesced | Way::Asked => 0,
        };
        let is_stream = self.is_stream();
        let mut response = Response::new(Body::new(call.hold(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(retry) = &self.retry {
            headers.clone_from(retry);
        }
        headers.insert(header::CONTENT_TYPE, self.content_type);
        headers.insert(header::ETAG, self.etag);
        headers.insert(header::AGE, age.into());
        headers.insert(CACHE, way.header());
        if let Way::Semantic(similarity) = way {
            // Digits are ASCII.
            let similarity = HeaderValue::from_str(&format!("{similarity:.4}"));
            headers.extend(similarity.map(|similarity| (SIMILARITY, similarity)));
        }
        if is_stream {
            events::declare(headers);
        }
        response
    }
}

impl Keep for Answer {
    const KIND: &'static str = "answer-1";

    fn size(&self) -> usize {
        self.body.len() + self.content_type.len() + self.etag.len()
    }

    fn made(&self) -> u64 {
        self.made
    }

    /// A hash of its body; when it was made and the length of its type, little-endian, of which one bit
    /// says whether a usage follows; its type; its body.
    fn encode(&self) -> Vec<u8> {
        let content_type = self.content_type.as_bytes();
        let usage = self.usage.map(|usage| encode(&usage));
        // A type is shorter than a head of requests may be, which is 64 KiB.
        let length = content_type.len() as u32 | if usage.is_some() { HAS_USAGE } else { 0 };
        let (made, length) = (self.made.to_le_bytes(), length.to_le_bytes());
        let usage = usage.as_ref().map_or(&[][..], |usage| usage);
        [&hash(&self.body)[..], &made, &length, usage, content_type, &self.body].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (hashed, rest) = bytes.split_first_chunk()?;
        let (made, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        let (usage, rest) = match length & HAS_USAGE {
            0 => (None, rest),
            _ => rest.split_first_chunk().map(|(usage, rest)| (Some(decode(usage)), rest))?,
        };
        let (content_type, body) = rest.split_at_checked((length & !HAS_USAGE) as usize)?;
        if hash(body) != *hashed {
            return None;
        }
        let content_type = HeaderValue::from_bytes(content_type).ok()?;
        let (made, status) = (u64::from_le_bytes(*made), StatusCode::OK);
        let (etag, body) = (etag(body), Bytes::copy_from_slice(body));
        Some(Self { made, status, content_type, etag, body, usage, retry: None })
    }
}

impl Way {
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Hit => "hit",
            Self::Coalesced => "coalesced",
            Self::Semantic(_) => "semantic",
            Self::Asked => "miss",
        })
    }
}

/// A usage: its numbers, little-endian, and whether it is estimated.
fn encode(usage: &Usage) -> [u8; USAGE] {
    let Usage { prompt_tokens, cached_prompt_tokens, completion_tokens, is_estimated } = *usage;
    let mut bytes = [0; USAGE];
    let (numbers, estimated) = bytes.as_chunks_mut();
    for (bytes, number) in
        numbers.iter_mut().zip([prompt_tokens, cached_prompt_tokens, completion_tokens])
    {
        *bytes = number.to_le_bytes();
    }
    estimated.fill(u8::from(is_estimated));
    bytes
}

fn decode(bytes: &[u8; USAGE]) -> Usage {
    let (numbers, estimated) = bytes.as_chunks();
    let [prompt_tokens, cached_prompt_tokens, completion_tokens] =
        [0, 1, 2].map(|place: usize| u64::from_le_bytes(numbers[place]));
    let is_estimated = estimated == [1];
    Usage { prompt_tokens, cached_prompt_tokens, completion_tokens, is_estimated }
}

/// Half of it is enough: nobody gains by two bodies of the same hash.
fn hash(body: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(body).as_bytes()[..16]);
    half
}

/// Weak: another codec says the same in other bytes.
fn etag(body: &[u8]) -> HeaderValue {
    let text = format!("W/\"{:032x}\"", u128::from_be_bytes(hash(body)));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("W/\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_read_as_it_was_written() {
        let usage = Usage {
            prompt_tokens: 1 << 40,
            cached_prompt_tokens: 2,
            completion_tokens: 3,
            is_estimated: true,
        };
        let exact = Usage { is_estimated: false, ..usage };
        for usage in [None, Some(usage), Some(exact)] {
            let body = Bytes::from_static(b"data: [DONE]\n\n");
            let answer = Answer::new(StatusCode::OK, &HeaderMap::new(), body, usage);
            let read = Answer::decode(&Keep::encode(&answer)).expect("an answer");
            assert_eq!((read.usage, &read.body, read.made), (usage, &answer.body, answer.made));
            assert_eq!(read.content_type, "application/json");
            assert!(Answer::decode(&Keep::encode(&answer)[1..]).is_none());
        }
    }
}
