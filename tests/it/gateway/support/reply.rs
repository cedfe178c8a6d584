//! What came of a request, and which kind of end that is.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

/// An answer, read as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// 0: none came.
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Why it ended before its end.
    pub(crate) broken: Option<String>,
}

/// How a request ended.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum End {
    /// Answered whole: as JSON, or as a stream to its `[DONE]`.
    Answered,
    /// A stream that ended with an error's event, after whole events.
    ErrorEvent,
    /// An error object, with this status.
    Refused(u16),
    /// Anything else, which no client should see.
    Lost(String),
}

impl Reply {
    pub(crate) async fn read(begun: hyper::Result<Response<Incoming>>) -> Self {
        let response = match begun {
            Ok(response) => response,
            Err(error) => return Self { broken: Some(error.to_string()), ..Self::default() },
        };
        let (parts, mut body) = response.into_parts();
        let mut read = BytesMut::new();
        let broken = loop {
            match body.frame().await {
                None => break None,
                Some(Err(error)) => break Some(error.to_string()),
                Some(Ok(frame)) => read.extend(frame.into_data()),
            }
        };
        let status = parts.status.as_u16();
        Self { status, headers: parts.headers, body: read.freeze(), broken }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// OpenAI's error object, of an answer that must be one.
    pub(crate) fn error(&self) -> Value {
        assert!(!self.header("x-request-id").is_empty(), "no request id: {self:?}");
        let error = self.json()["error"].take();
        assert!(is_error(&error), "{self:?}");
        error
    }

    /// What the events of a stream say, which must all be whole; `[DONE]` is none.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.read_events().unwrap_or_else(|| panic!("no whole events: {self:?}"))
    }

    pub(crate) fn end(&self) -> End {
        self.whole_end().unwrap_or_else(|| End::Lost(format!("{self:?}")))
    }

    fn whole_end(&self) -> Option<End> {
        if self.broken.is_some() || self.header("x-request-id").is_empty() {
            return None;
        }
        if self.header("content-type").starts_with("text/event-stream") {
            let mut events = self.read_events()?;
            let is_done = self.body.ends_with(b"\n\ndata: [DONE]\n\n");
            let last = events.pop()?;
            let sound = events.iter().all(|event| event["choices"].is_array());
            return match (sound, is_done) {
                (true, true) => last["choices"].is_array().then_some(End::Answered),
                (true, false) => is_error(&last["error"]).then_some(End::ErrorEvent),
                _ => None,
            };
        }
        let json: Value = serde_json::from_slice(&self.body).ok()?;
        if self.status == 200 {
            return json["choices"].is_array().then_some(End::Answered);
        }
        is_error(&json["error"]).then_some(End::Refused(self.status))
    }

    fn read_events(&self) -> Option<Vec<Value>> {
        let events = std::str::from_utf8(&self.body).ok()?.strip_suffix("\n\n")?.split("\n\n");
        let data = events.map(|event| event.strip_prefix("data: "));
        let read = data.filter(|data| *data != Some("[DONE]"));
        read.map(|data| serde_json::from_str(data?).ok()).collect()
    }
}

fn is_error(error: &Value) -> bool {
    error["message"].is_string() && error["type"].is_string()
}
