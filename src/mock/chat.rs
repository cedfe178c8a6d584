//! `POST /v1/chat/completions`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::{
    choices::{self, Limit, StreamOptions},
    chunks::{ARGUMENTS, Call, Chunks, Form},
    content::{Content, head, id, quoted, usage},
    logprobs::Logprobs,
    manner::Manner,
    object::{Object, read},
    output::Output,
    refusal::Refusal,
    response_format::ResponseFormat,
    script::Script,
    size::Tokens,
};

/// Most candidates of a token, as `OpenAI` has it.
const MAX_TOP_LOGPROBS: usize = 20;

/// Fields of the request that are read; all others are ignored.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    messages: Vec<Object<Message<'a>>>,
    #[serde(default, rename = "temperature")]
    _temperature: Option<f64>,
    #[serde(default, rename = "max_completion_tokens")]
    _max_completion_tokens: Option<Limit>,
    #[serde(default)]
    n: Option<usize>,
    #[serde(default)]
    logprobs: Option<bool>,
    #[serde(default)]
    top_logprobs: Option<usize>,
    #[serde(default)]
    response_format: Option<Object<ResponseFormat>>,
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
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(default)]
    content: Tokens,
    #[serde(default)]
    tool_calls: Tokens,
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

/// Messages, or calls of the first tool where there are tools.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let asked: Asked<'_> = read(body)?;
    manner.check_model(&asked.model)?;
    let form = asked.form();
    let logprobs = asked.logprobs()?;
    let output = asked.output(&form, manner)?;
    let choices = choices::count(asked.n, &output, logprobs)?;
    let used = usage(asked.tokens(), output.tokens() * choices);
    if asked.stream == Some(true) {
        let head = head("chatcmpl", "chat.completion.chunk", &asked.model);
        let usage = StreamOptions::wants_usage(asked.stream_options.as_ref()).then_some(used);
        let chunks = Chunks::new(head, form, output, choices, logprobs, usage);
        return Ok(Content::Stream(Script::new(chunks)));
    }
    let head = head("chatcmpl", "chat.completion", &asked.model);
    let choices: Vec<_> =
        (0..choices).map(|index| choice(index, &form, &output, logprobs)).collect();
    let body = ["{", &head, r#","choices":["#, &choices.join(","), r#"],"usage":"#, &used, "}"];
    Ok(Content::written(body.concat()))
}

/// A choice of a whole answer, in JSON.
fn choice(index: usize, form: &Form, output: &Output, logprobs: Option<Logprobs>) -> String {
    let text = output.escaped_text();
    let (said, reason) = match form {
        Form::Call(call) => {
            let [begin, end] = ARGUMENTS;
            ([&call.begin(index, false), begin, &text, end, r#""}}]"#].concat(), "tool_calls")
        }
        Form::Message | Form::Text => ([r#"""#, &text, r#"""#].concat(), "stop"),
    };
    let logprobs = match form {
        Form::Call(_) => None,
        Form::Message | Form::Text => {
            logprobs.map(|logprobs| logprobs.chat(output, 0..output.tokens()))
        }
    };
    let parts = [
        r#"{"index":"#,
        &index.to_string(),
        r#","message":{"role":"assistant","content":"#,
        &said,
        r#","refusal":null},"logprobs":"#,
        logprobs.as_deref().unwrap_or("null"),
        r#","finish_reason":""#,
        reason,
        r#""}"#,
    ];
    parts.concat()
}

impl Asked<'_> {
    /// Tokens of the messages.
    fn tokens(&self) -> usize {
        let tokens = |message: &Object<Message<'_>>| {
            Tokens::of(&message.role) + message.content.0 + message.tool_calls.0
        };
        self.messages.iter().map(tokens).sum()
    }

    fn form(&self) -> Form {
        let may = self.tool_choice.as_ref().is_none_or(|choice| choice != "none");
        let mut tools = self.tools.iter().flatten().filter_map(|tool| tool.function.as_ref());
        match tools.next().filter(|_| may) {
            Some(first) => {
                Form::Call(Call { id: format!("call_{}", id()), name: quoted(&first.name) })
            }
            None => Form::Message,
        }
    }

    fn logprobs(&self) -> Result<Option<Logprobs>, Refusal> {
        let top = self.top_logprobs.unwrap_or(0);
        if top > MAX_TOP_LOGPROBS {
            let allowed = format!("0 to {MAX_TOP_LOGPROBS}");
            return Err(Refusal::not_allowed("top_logprobs", top, &allowed));
        }
        match self.logprobs {
            Some(true) => Ok(Some(Logprobs { top })),
            _ if self.top_logprobs.is_some() => {
                let allowed = "only together with `\"logprobs\": true`";
                Err(Refusal::not_allowed("top_logprobs", top, allowed))
            }
            _ => Ok(None),
        }
    }

    fn output(&self, form: &Form, manner: &Manner) -> Result<Output, Refusal> {
        match (form, &self.response_format) {
            (Form::Message, Some(format)) => format.output(manner),
            _ => Ok(manner.output.clone()),
        }
    }
}
