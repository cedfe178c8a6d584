//! `POST /v1/messages` and `/v1/messages/count_tokens`, in `Anthropic`'s form.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    bounds::Whole,
    content::{Content, id},
    manner::Manner,
    object::read,
    output::Output,
    refusal::Refusal,
    script::{Events, Script, Step, Steps, named},
    size::Tokens,
};

/// A limit of tokens that has to be given, of 64 bits with a sign at most.
type AtLeastOne = Whole<1, { i64::MAX as u64 }>;

/// Fields of the request that are read; all others are ignored.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    messages: Tokens,
    #[serde(default)]
    system: Tokens,
    #[serde(default)]
    tools: Tokens,
    #[serde(default)]
    max_tokens: Option<AtLeastOne>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Debug)]
struct Message {
    id: String,
    model: String,
    input_tokens: usize,
    output: Output,
}

/// A message.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let asked = asked(body, manner)?;
    if asked.max_tokens.is_none() {
        return Err(Refusal::missing("max_tokens"));
    }
    let message = Message {
        id: format!("msg_{}", id()),
        input_tokens: asked.tokens(),
        model: asked.model.into_owned(),
        output: manner.output.clone(),
    };
    if asked.stream == Some(true) {
        return Ok(Content::Stream(Script::new(message)));
    }
    Content::json(&message.whole())
}

/// Tokens of a request.
pub(super) fn count(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    Content::json(&json!({ "input_tokens": asked(body, manner)?.tokens() }))
}

fn asked<'a>(body: &'a [u8], manner: &Manner) -> Result<Asked<'a>, Refusal> {
    let asked: Asked<'_> = read(body)?;
    manner.check_model(&asked.model)?;
    Ok(asked)
}

impl Asked<'_> {
    fn tokens(&self) -> usize {
        self.messages.0 + self.system.0 + self.tools.0
    }
}

impl Message {
    fn whole(&self) -> Value {
        let content = json!([{ "type": "text", "text": self.output.text() }]);
        self.message(&content, &"end_turn".into(), self.output.tokens())
    }

    fn message(&self, content: &Value, stop_reason: &Value, output_tokens: usize) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": {
                "input_tokens": self.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": output_tokens,
            },
        })
    }

    fn before(&self, index: usize) -> Value {
        match index {
            0 => json!({
                "type": "message_start",
                "message": self.message(&json!([]), &Value::Null, 1),
            }),
            1 => json!({
                "type": "content_block_start",
                "index": 0,
                "content_block": { "type": "text", "text": "" },
            }),
            _ => json!({ "type": "ping" }),
        }
    }

    fn after(&self, index: usize) -> Value {
        match index {
            0 => json!({ "type": "content_block_stop", "index": 0 }),
            1 => json!({
                "type": "message_delta",
                "delta": { "stop_reason": "end_turn", "stop_sequence": null },
                "usage": { "output_tokens": self.output.tokens() },
            }),
            _ => json!({ "type": "message_stop" }),
        }
    }
}

impl Events for Message {
    fn steps(&self) -> Steps {
        Steps { before: 3, tokens: self.output.tokens(), after: 3 }
    }

    fn size(&self) -> usize {
        // An event with the longest word.
        160
    }

    fn write(&self, step: Step, out: &mut BytesMut) {
        match step {
            Step::Before(index) => named(out, &self.before(index)),
            Step::After(index) => named(out, &self.after(index)),
            Step::Token(index) => {
                out.put_slice(
                    b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
                      \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"",
                );
                out.put_slice(self.output.escaped(index).as_bytes());
                out.put_slice(b"\"}}\n\n");
            }
        }
    }
}
