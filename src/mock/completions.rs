//! `POST /v1/completions`: text completions.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    choices::{self, Limit, StreamOptions},
    chunks::{Chunks, Form},
    content::{Content, head, usage},
    logprobs::Logprobs,
    manner::Manner,
    object::{Object, read},
    refusal::Refusal,
    script::Script,
    size::Tokens,
};

/// Most candidates of a token, as `OpenAI` has it.
const MAX_LOGPROBS: usize = 5;

/// Fields of the request that are read; all others are ignored.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    prompt: Tokens,
    #[serde(default, rename = "temperature")]
    _temperature: Option<f64>,
    #[serde(default, rename = "max_tokens")]
    _max_tokens: Option<Limit>,
    #[serde(default)]
    n: Option<usize>,
    #[serde(default)]
    logprobs: Option<usize>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<Object<StreamOptions>>,
}

/// Texts.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let asked: Asked<'_> = read(body)?;
    manner.check_model(&asked.model)?;
    if let Some(top) = asked.logprobs.filter(|top| *top > MAX_LOGPROBS) {
        return Err(Refusal::not_allowed("logprobs", top, &format!("0 to {MAX_LOGPROBS}")));
    }
    let logprobs = asked.logprobs.map(|top| Logprobs { top });
    let output = &manner.output;
    let choices = choices::count(asked.n, output, logprobs)?;
    let used = usage(asked.prompt.0, output.tokens() * choices);
    let head = head("cmpl", "text_completion", &asked.model);
    if asked.stream == Some(true) {
        let usage = StreamOptions::wants_usage(asked.stream_options.as_ref()).then_some(used);
        let chunks = Chunks::new(head, Form::Text, output.clone(), choices, logprobs, usage);
        return Ok(Content::Stream(Script::new(chunks)));
    }
    let text = output.escaped_text();
    let logprobs = logprobs.map(|logprobs| logprobs.text(output, 0..output.tokens()));
    let logprobs = logprobs.as_deref().unwrap_or("null");
    let choices: Vec<_> = (0..choices)
        .map(|index| {
            format!(
                r#"{{"index":{index},"text":"{text}","logprobs":{logprobs},"finish_reason":"stop"}}"#
            )
        })
        .collect();
    let body = ["{", &head, r#","choices":["#, &choices.join(","), r#"],"usage":"#, &used, "}"];
    Ok(Content::written(body.concat()))
}
