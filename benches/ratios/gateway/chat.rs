//! The request of a chat completion, as a client of the API sends it.

use bytes::Bytes;
use serde_json::json;

use crate::texts::texts;

/// The model that the mock has.
pub(crate) const MODEL: &str = "bench-model";

/// Sentences in the question: with what is around them 1 kB.
const SENTENCES: usize = 13;

pub(crate) fn request(stream: bool) -> Bytes {
    let question = texts()[..SENTENCES].join(" ");
    let body = json!({
        "model": MODEL,
        "messages": [
            { "role": "system", "content": "You are a helpful assistant." },
            { "role": "user", "content": question },
        ],
        "temperature": 0.7,
        "stream": stream,
    });
    let body = body.to_string();
    let headers = [
        "host: localhost",
        "accept: application/json",
        "user-agent: OpenAI/Python",
        "authorization: Bearer bench",
        "content-type: application/json",
        &format!("content-length: {}", body.len()),
    ];
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\n{}\r\n\r\n", headers.join("\r\n"));
    Bytes::from(head + &body)
}
