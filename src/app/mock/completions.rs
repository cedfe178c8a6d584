//! `POST /v1/completions`: the old kind, a text that goes on.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    chat::StreamOptions,
    content::{Content, head, usage},
    manner::Manner,
    object::Object,
    refusal::Refusal,
    script::{Form, Script},
    size::Tokens,
};

/// What is needed of the request; all else is passed over.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    prompt: Tokens,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<Object<StreamOptions>>,
}

/// A text.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let Object(asked): Object<Asked<'_>> =
        serde_json::from_slice(body).map_err(|error| Refusal::bad_json(&error))?;
    manner.check_model(&asked.model)?;
    let tokens = manner.behaviour.tokens.count();
    let used = usage(asked.prompt.0, tokens);
    let head = head("cmpl", "text_completion", &asked.model);
    if asked.stream == Some(true) {
        let usage = StreamOptions::wants_usage(asked.stream_options.as_ref()).then_some(used);
        return Ok(Content::Stream(Script::new(head, Form::Text, tokens, usage)));
    }
    let body = [
        "{",
        &head,
        r#","choices":[{"index":0,"text":""#,
        &manner.text,
        r#"","logprobs":null,"finish_reason":"stop"}],"usage":"#,
        &used,
        "}",
    ];
    Ok(Content::Whole(body.concat().into()))
}
