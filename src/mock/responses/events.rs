//! Events of a response that is streamed.

use bytes::{BufMut as _, BytesMut};
use serde_json::{Value, json};

use super::{Response, part};
use crate::mock::script::{Events, Step, Steps, named};

/// Events before the first token.
const BEFORE: usize = 4;
/// Events after the last token.
const AFTER: usize = 4;

#[derive(Debug)]
pub(super) struct ResponseEvents {
    response: Response,
    /// An event of a token up to the number in the sequence.
    delta: String,
}

impl ResponseEvents {
    pub(super) fn new(response: Response) -> Self {
        let item_id = &response.item_id;
        let delta = format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\
             \"item_id\":\"{item_id}\",\"output_index\":0,\"content_index\":0,\"logprobs\":[],\
             \"sequence_number\":"
        );
        Self { response, delta }
    }

    fn before(&self, index: usize) -> Value {
        let response = &self.response;
        match index {
            0 => json!({ "type": "response.created", "response": response.begun() }),
            1 => json!({ "type": "response.in_progress", "response": response.begun() }),
            2 => json!({
                "type": "response.output_item.added",
                "output_index": 0,
                "item": response.item("in_progress", &[]),
            }),
            _ => json!({
                "type": "response.content_part.added",
                "item_id": response.item_id,
                "output_index": 0,
                "content_index": 0,
                "part": part(""),
            }),
        }
    }

    fn after(&self, index: usize) -> Value {
        let response = &self.response;
        let text = response.output.text();
        match index {
            0 => json!({
                "type": "response.output_text.done",
                "item_id": response.item_id,
                "output_index": 0,
                "content_index": 0,
                "logprobs": [],
                "text": text,
            }),
            1 => json!({
                "type": "response.content_part.done",
                "item_id": response.item_id,
                "output_index": 0,
                "content_index": 0,
                "part": part(&text),
            }),
            2 => json!({
                "type": "response.output_item.done",
                "output_index": 0,
                "item": response.item("completed", &[part(&text)]),
            }),
            _ => json!({ "type": "response.completed", "response": response.completed() }),
        }
    }
}

impl Events for ResponseEvents {
    fn steps(&self) -> Steps {
        Steps { before: BEFORE, tokens: self.response.output.tokens(), after: AFTER }
    }

    fn size(&self) -> usize {
        // The rest of the event, with the longest word.
        self.delta.len() + 64
    }

    fn write(&self, step: Step, out: &mut BytesMut) {
        let tokens = self.response.output.tokens();
        let (mut event, number) = match step {
            Step::Before(index) => (self.before(index), index),
            Step::After(index) => (self.after(index), BEFORE + tokens + index),
            Step::Token(index) => {
                out.put_slice(self.delta.as_bytes());
                out.put_slice((BEFORE + index).to_string().as_bytes());
                out.put_slice(br#","delta":""#);
                out.put_slice(self.response.output.escaped(index).as_bytes());
                out.put_slice(b"\"}\n\n");
                return;
            }
        };
        event["sequence_number"] = number.into();
        named(out, &event);
    }
}
