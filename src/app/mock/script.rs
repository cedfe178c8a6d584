//! What a stream says, event by event.

use bytes::{BufMut as _, BytesMut};

use super::words;

/// The events of a stream, made as they are asked for.
#[derive(Debug)]
pub(super) struct Script {
    /// The fields that every event has, in JSON.
    head: String,
    form: Form,
    tokens: usize,
    /// Ends before this token, without an end; none: goes on to its end.
    until: Option<usize>,
    /// The usage in JSON, where the client wants it.
    usage: Option<String>,
    next: Option<Step>,
}

/// What the tokens are.
#[derive(Debug)]
pub(super) enum Form {
    /// A chat's message.
    Message,
    /// The arguments of a tool call in a chat: its id and the tool's name, in JSON.
    Call { id: String, name: String },
    /// A completion of the old kind.
    Text,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Whose message it is, and which tool it calls.
    Role,
    /// The beginning of a tool call's arguments.
    Open,
    Token(usize),
    /// The end of a tool call's arguments.
    Close,
    Finish,
    Usage,
    Done,
}

/// What stands around the words in a tool call's arguments, in JSON in JSON.
pub(super) const ARGUMENTS: [&str; 2] = [r#"{\"text\":\""#, r#"\"}"#];

impl Script {
    /// A stream of so many tokens, with the fields in `head` on every event.
    pub(super) fn new(head: String, form: Form, tokens: usize, usage: Option<String>) -> Self {
        let first = if matches!(form, Form::Text) { Step::Token(0) } else { Step::Role };
        Self { head, form, tokens, until: None, usage, next: Some(first) }
    }

    /// Ends after so many tokens at the latest, and before its end.
    pub(super) fn stop_after(&mut self, tokens: usize) {
        let until = tokens.min(self.tokens);
        self.until = Some(until);
        if self.next == Some(Step::Token(until)) {
            self.next = None;
        }
    }

    /// About how many bytes all events have, and hardly ever less.
    pub(super) fn size(&self) -> usize {
        // What stands around the longest word, and five events beside the tokens.
        (self.head.len() + 160) * (self.tokens + 5)
    }

    pub(super) fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// Whether what comes next is a token with another before it.
    pub(super) fn is_between_tokens(&self) -> bool {
        matches!(self.next, Some(Step::Token(1..)))
    }

    /// Writes the next event, if there is one.
    pub(super) fn write(&mut self, out: &mut BytesMut) {
        let Some(step) = self.next else { return };
        self.next = self.following(step);
        match step {
            Step::Done => out.put_slice(b"data: [DONE]\n\n"),
            Step::Usage => self.event(out, &[], self.usage.as_deref()),
            Step::Role => self.role(out),
            Step::Open => self.token(out, ARGUMENTS[0]),
            Step::Token(index) => self.token(out, words::word(index)),
            Step::Close => self.token(out, ARGUMENTS[1]),
            Step::Finish => self.finish(out),
        }
    }

    fn following(&self, step: Step) -> Option<Step> {
        let is_call = matches!(self.form, Form::Call { .. });
        let next = match step {
            Step::Role if is_call => Step::Open,
            Step::Role | Step::Open => Step::Token(0),
            Step::Token(index) if index + 1 < self.tokens => Step::Token(index + 1),
            Step::Token(_) if self.until.is_some() => return None,
            Step::Token(_) if is_call => Step::Close,
            Step::Token(_) | Step::Close => Step::Finish,
            Step::Finish if self.usage.is_some() => Step::Usage,
            Step::Finish | Step::Usage => Step::Done,
            Step::Done => return None,
        };
        let stops = self.until.is_some_and(|until| next == Step::Token(until));
        (!stops).then_some(next)
    }

    fn role(&self, out: &mut BytesMut) {
        let begin = r#"{"index":0,"delta":{"role":"assistant","content":"#;
        let end = r#"},"logprobs":null,"finish_reason":null}"#;
        match &self.form {
            Form::Call { id, name } => {
                let call = r#"null,"tool_calls":[{"index":0,"id":""#;
                let function = r#"","type":"function","function":{"name":"#;
                let arguments = r#","arguments":""}}]"#;
                self.event(out, &[begin, call, id, function, name, arguments, end], None);
            }
            Form::Message | Form::Text => {
                self.event(out, &[begin, r#""","refusal":null"#, end], None);
            }
        }
    }

    fn token(&self, out: &mut BytesMut, text: &str) {
        let (begin, end) = match self.form {
            Form::Message => (
                r#"{"index":0,"delta":{"content":""#,
                r#""},"logprobs":null,"finish_reason":null}"#,
            ),
            Form::Call { .. } => (
                r#"{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":""#,
                r#""}}]},"logprobs":null,"finish_reason":null}"#,
            ),
            Form::Text => (r#"{"index":0,"text":""#, r#"","logprobs":null,"finish_reason":null}"#),
        };
        self.event(out, &[begin, text, end], None);
    }

    fn finish(&self, out: &mut BytesMut) {
        let choice = match self.form {
            Form::Message => r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}"#,
            Form::Call { .. } => {
                r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}"#
            }
            Form::Text => r#"{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}"#,
        };
        self.event(out, &[choice], None);
    }

    /// Every event but the last: a choice, in parts, and the usage, which is null on all but one.
    fn event(&self, out: &mut BytesMut, choice: &[&str], usage: Option<&str>) {
        out.put_slice(b"data: {");
        out.put_slice(self.head.as_bytes());
        out.put_slice(br#","choices":["#);
        for part in choice {
            out.put_slice(part.as_bytes());
        }
        out.put_slice(b"]");
        if self.usage.is_some() {
            out.put_slice(br#","usage":"#);
            out.put_slice(usage.unwrap_or("null").as_bytes());
        }
        out.put_slice(b"}\n\n");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{
        super::content::{head, quoted, usage},
        *,
    };

    /// The events, but for the last, which must be there.
    fn events(mut script: Script) -> Vec<Value> {
        let mut out = BytesMut::new();
        while !script.is_over() {
            script.write(&mut out);
        }
        let text = String::from_utf8(out.to_vec()).expect("UTF-8");
        let events = text.strip_suffix("data: [DONE]\n\n").expect("done");
        let events = events.split_terminator("\n\n");
        let parse = |event: &str| {
            let json = event.strip_prefix("data: ").expect("an event");
            serde_json::from_str(json).expect("JSON")
        };
        events.map(parse).collect()
    }

    fn script(form: Form, usage: Option<String>) -> Script {
        Script::new(head("x", "y", "a \"model\""), form, 3, usage)
    }

    #[test]
    fn a_message_has_its_role_first_and_its_reason_last() {
        let events = events(script(Form::Message, None));
        assert_eq!(events.len(), 5);
        assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
        assert!(events.iter().all(|event| event["model"] == "a \"model\""));
        assert!(events.iter().all(|event| event.get("usage").is_none()));
        assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        let content =
            |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(String::from);
        assert_eq!(events.iter().filter_map(content).collect::<String>(), words::text(3));
        assert_eq!(events[3]["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(events[4]["choices"][0]["finish_reason"], "stop");
    }

    #[test]
    fn usage_is_null_but_in_the_last_event_which_has_no_choice() {
        let events = events(script(Form::Text, Some(usage(4, 3))));
        let (last, others) = events.split_last().expect("events");
        assert!(others.iter().all(|event| event.get("usage") == Some(&Value::Null)));
        assert_eq!(last["choices"], serde_json::json!([]));
        assert_eq!(last["usage"]["total_tokens"], 7);
    }

    #[test]
    fn the_pieces_of_a_calls_arguments_are_json() {
        let form = Form::Call { id: "call_1".to_owned(), name: quoted("look") };
        let events = events(script(form, None));
        let call = |event: &Value| event["choices"][0]["delta"]["tool_calls"][0].clone();
        assert_eq!(call(&events[0])["function"]["name"], "look");
        assert_eq!(call(&events[0])["id"], "call_1");
        let arguments: String = events
            .iter()
            .filter_map(|event| call(event)["function"]["arguments"].as_str().map(String::from))
            .collect();
        let arguments: Value = serde_json::from_str(&arguments).expect("JSON");
        assert_eq!(arguments["text"], words::text(3));
        let last = events.last().expect("events");
        assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn stops_after_so_many_tokens_and_before_its_end() {
        let call = || Form::Call { id: "call_1".to_owned(), name: quoted("look") };
        for (form, tokens, events) in [
            (Form::Message, 0, 1),
            (Form::Message, 2, 3),
            (Form::Message, 9, 4),
            (Form::Text, 0, 0),
            (Form::Text, 3, 3),
            (call(), 0, 2),
            (call(), 9, 5),
        ] {
            let mut script = script(form, None);
            script.stop_after(tokens);
            let mut out = BytesMut::new();
            while !script.is_over() {
                script.write(&mut out);
            }
            let found = String::from_utf8_lossy(&out).matches("data: {").count();
            assert_eq!(found, events, "{tokens} tokens");
            assert!(!String::from_utf8_lossy(&out).contains("[DONE]"));
        }
    }
}
