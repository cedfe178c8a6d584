//! `POST /v1/chat/completions`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::{
    content::{Content, head, id, quoted, usage},
    manner::Manner,
    object::Object,
    refusal::Refusal,
    script::{ARGUMENTS, Form, Script},
    size::Tokens,
};

/// What is needed of the request; all else is passed over.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    messages: Tokens,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<Object<StreamOptions>>,
    #[serde(borrow, default)]
    tools: Option<Vec<Object<Tool<'a>>>>,
    #[serde(default)]
    tool_choice: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default)]
    function: Option<Object<Function<'a>>>,
}

#[derive(Debug, Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// A message, or a call of the first tool where there are tools.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let Object(asked): Object<Asked<'_>> =
        serde_json::from_slice(body).map_err(|error| Refusal::bad_json(&error))?;
    manner.check_model(&asked.model)?;
    let tokens = manner.behaviour.tokens.count();
    let used = usage(asked.messages.0, tokens);
    let form = asked.form();
    if asked.stream == Some(true) {
        let head = head("chatcmpl", "chat.completion.chunk", &asked.model);
        let usage = StreamOptions::wants_usage(asked.stream_options.as_ref()).then_some(used);
        return Ok(Content::Stream(Script::new(head, form, tokens, usage)));
    }
    let head = head("chatcmpl", "chat.completion", &asked.model);
    let (said, reason) = said(&form, &manner.text);
    let body = [
        "{",
        &head,
        r#","choices":[{"index":0,"message":{"role":"assistant","content":"#,
        &said,
        r#","refusal":null},"logprobs":null,"finish_reason":""#,
        reason,
        r#""}],"usage":"#,
        &used,
        "}",
    ];
    Ok(Content::Whole(body.concat().into()))
}

/// The content of a whole message and why it ends.
fn said(form: &Form, text: &str) -> (String, &'static str) {
    let Form::Call { id, name } = form else { return ([r#"""#, text, r#"""#].concat(), "stop") };
    let [begin, end] = ARGUMENTS;
    let call = [
        r#"null,"tool_calls":[{"id":""#,
        id,
        r#"","type":"function","function":{"name":"#,
        name,
        r#","arguments":""#,
        begin,
        text,
        end,
        r#""}}]"#,
    ];
    (call.concat(), "tool_calls")
}

impl Asked<'_> {
    fn form(&self) -> Form {
        let may = self.tool_choice.as_ref().is_none_or(|choice| choice != "none");
        let mut tools = self.tools.iter().flatten().filter_map(|tool| tool.function.as_ref());
        match tools.next().filter(|_| may) {
            Some(first) => Form::Call { id: format!("call_{}", id()), name: quoted(&first.name) },
            None => Form::Message,
        }
    }
}

impl StreamOptions {
    pub(super) fn wants_usage(options: Option<&Object<Self>>) -> bool {
        options.is_some_and(|options| options.include_usage == Some(true))
    }
}
