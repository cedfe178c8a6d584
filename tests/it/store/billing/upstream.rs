//! An upstream that answers as the request says: what it sends is known beforehand.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::scripted::Scripted;

/// Answer that an upstream is asked to give.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Script {
    pub(super) content: Content,
    /// Bytes of a write; 0: all that there are.
    pub(super) piece: usize,
    pub(super) end: End,
    /// Answers 400 to `stream_options`.
    pub(super) refuses_stream_options: bool,
    pub(super) status: u16,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Content {
    Whole(String),
    /// Events with a word each, and a usage if that is asked for.
    Stream {
        tokens: usize,
        usage: Value,
    },
}

/// End of an answer: for a stream, after a number of words.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum End {
    Whole,
    /// All is sent, and the connection stays open.
    Linger,
    Stall(usize),
    Cut(usize),
}

/// An upstream that plays what its requests ask for.
pub(super) fn start() -> Scripted {
    Scripted::answering(|head, body| match head.method {
        http::Method::POST => respond(&body),
        // Health checks ask for the models.
        _ => r#"{"data":[]}"#.into_response(),
    })
}

impl Script {
    pub(super) fn whole(text: String) -> Self {
        Self { content: Content::Whole(text), ..Self::stream(0) }
    }

    pub(super) fn stream(tokens: usize) -> Self {
        let usage = json!({ "prompt_tokens": 3, "completion_tokens": tokens });
        Self {
            content: Content::Stream { tokens, usage },
            piece: 0,
            end: End::Whole,
            refuses_stream_options: false,
            status: 200,
        }
    }

    /// A request for it.
    pub(super) fn request(&self) -> Value {
        json!({
            "model": "mock",
            "messages": [{ "role": "user", "content": "hello" }],
            "stream": matches!(self.content, Content::Stream { .. }),
            "script": self,
        })
    }

    /// The events of a stream before its end, without and with the usage.
    fn events(&self, wants_usage: bool) -> Vec<String> {
        let Content::Stream { tokens, usage } = &self.content else { return Vec::new() };
        let event = |choices: Value, usage: &Value| {
            let mut event = json!({ "id": "x", "choices": choices });
            if wants_usage {
                event["usage"] = usage.clone();
            }
            format!("data: {event}\n\n")
        };
        let choice = |content: &str| json!([{ "index": 0, "delta": { "content": content } }]);
        let words = (0..*tokens).map(|place| choice(WORDS[place % WORDS.len()]));
        let said = std::iter::once(choice("")).chain(words);
        let mut events: Vec<_> = said.map(|choices| event(choices, &Value::Null)).collect();
        match self.end {
            End::Stall(after) | End::Cut(after) => events.truncate(after + 1),
            End::Whole | End::Linger => {
                if wants_usage {
                    events.push(event(json!([]), usage));
                }
                events.push("data: [DONE]\n\n".to_owned());
            }
        }
        events
    }
}

/// Words of at most 16 bytes: a token each.
const WORDS: [&str; 4] = [" größere", " \"usage\":null,", " 🔥\n", " and"];

fn respond(body: &[u8]) -> Response {
    let request: Value = serde_json::from_slice(body).expect("JSON");
    let script: Script = serde_json::from_value(request["script"].clone()).expect("a script");
    let status = StatusCode::from_u16(script.status).expect("a status");
    let has_options = !request["stream_options"].is_null();
    if script.refuses_stream_options && has_options {
        let error = json!({ "error": { "message": "extra fields: stream_options" } });
        return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
    }
    if status != StatusCode::OK {
        return (status, r#"{"error":{"message":"no","type":"x"}}"#).into_response();
    }
    let wants_usage = request["stream_options"]["include_usage"] == true;
    let (content_type, text) = match &script.content {
        Content::Whole(text) => ("application/json", text.clone()),
        Content::Stream { .. } => ("text/event-stream", script.events(wants_usage).concat()),
    };
    let text = Bytes::from(text);
    let size = if script.piece == 0 { text.len().max(1) } else { script.piece };
    let pieces = text.chunks(size).map(Bytes::copy_from_slice).collect::<Vec<_>>();
    let sent = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
    let body = match script.end {
        End::Whole => Body::from_stream(sent),
        End::Stall(_) | End::Linger => Body::from_stream(sent.chain(stream::pending())),
        End::Cut(_) => Body::from_stream(sent.chain(stream::once(async {
            // The server sends the pieces first.
            tokio::task::yield_now().await;
            Err(std::io::Error::other("cut"))
        }))),
    };
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// Reads so many events: the text.
pub(super) async fn read_events(mut body: hyper::body::Incoming, events: usize) -> String {
    let mut read = Vec::new();
    while memchr::memmem::find_iter(&read, b"\n\n").count() < events {
        let frame = body.frame().await.expect("more events").expect("no error");
        read.extend_from_slice(frame.data_ref().expect("data"));
    }
    String::from_utf8(read).expect("UTF-8")
}
