//! `POST /v1/responses`: a message, whole or in events that have types.

mod events;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use self::events::ResponseEvents;
use super::{
    content::{Content, id, now},
    manner::Manner,
    object::{Object, read},
    output::Output,
    refusal::Refusal,
    response_format::ResponseFormat,
    script::Script,
    size::Tokens,
};

/// Fields of the request that are read; all others are ignored.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    input: Tokens,
    #[serde(default)]
    instructions: Option<Cow<'a, str>>,
    #[serde(default)]
    text: Option<Object<Text>>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Text {
    #[serde(default)]
    format: Option<Object<ResponseFormat>>,
}

/// A response, as far as it is the same at its beginning and at its end.
#[derive(Debug)]
struct Response {
    id: String,
    item_id: String,
    created_at: u64,
    model: String,
    instructions: Option<String>,
    input_tokens: usize,
    output: Output,
}

/// A message.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let asked: Asked<'_> = read(body)?;
    manner.check_model(&asked.model)?;
    let format = asked.text.as_ref().and_then(|text| text.format.as_ref());
    let output = match format {
        Some(format) => format.output(manner)?,
        None => manner.output.clone(),
    };
    let of_instructions = asked.instructions.as_deref().map_or(0, Tokens::of);
    let response = Response {
        id: format!("resp_{}", id()),
        item_id: format!("msg_{}", id()),
        created_at: now(),
        model: asked.model.into_owned(),
        instructions: asked.instructions.map(Cow::into_owned),
        input_tokens: asked.input.0 + of_instructions,
        output,
    };
    if asked.stream == Some(true) {
        return Ok(Content::Stream(Script::new(ResponseEvents::new(response))));
    }
    Content::json(&response.completed())
}

impl Response {
    /// The response before it has an output.
    fn begun(&self) -> Value {
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": "in_progress",
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": self.instructions,
            "max_output_tokens": null,
            "max_tool_calls": null,
            "metadata": {},
            "model": self.model,
            "output": [],
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": { "effort": null, "summary": null },
            "store": false,
            "temperature": 1.0,
            "text": { "format": { "type": "text" } },
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": null,
            "user": null,
        })
    }

    fn completed(&self) -> Value {
        let mut response = self.begun();
        response["status"] = "completed".into();
        response["output"] = json!([self.item("completed", &[part(&self.output.text())])]);
        response["usage"] = self.usage();
        response
    }

    /// The message of the output.
    fn item(&self, status: &str, content: &[Value]) -> Value {
        json!({
            "id": self.item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        })
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.input_tokens, self.output.tokens());
        json!({
            "input_tokens": input,
            "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": output,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": input + output,
        })
    }
}

/// The content of a message.
fn part(text: &str) -> Value {
    json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": text })
}
