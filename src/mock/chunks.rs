//! Streams of chat and text completions: chunks that have choices.

mod call;

use bytes::{BufMut as _, BytesMut};

pub(super) use self::call::{ARGUMENTS, Call};
use super::{
    logprobs::Logprobs,
    output::Output,
    script::{Events, Step, Steps},
};

/// The chunks of a stream.
#[derive(Debug)]
pub(super) struct Chunks {
    /// The fields that every chunk has, in JSON.
    head: String,
    form: Form,
    output: Output,
    choices: usize,
    logprobs: Option<Logprobs>,
    /// The usage in JSON, where the client wants it.
    usage: Option<String>,
    ends: Vec<End>,
}

/// Meaning of the tokens.
#[derive(Debug)]
pub(super) enum Form {
    /// A chat's message.
    Message,
    /// The arguments of a tool call in a chat.
    Call(Call),
    /// A text completion.
    Text,
}

/// Events after the tokens.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The end of a tool call's arguments.
    Close,
    Finish,
    Usage,
    Done,
}

impl Chunks {
    /// A stream with the fields in `head` on every chunk.
    pub(super) fn new(
        head: String,
        form: Form,
        output: Output,
        choices: usize,
        logprobs: Option<Logprobs>,
        usage: Option<String>,
    ) -> Self {
        let close = matches!(form, Form::Call(_)).then_some(End::Close);
        let of_usage = usage.is_some().then_some(End::Usage);
        let ends = [close, Some(End::Finish), of_usage, Some(End::Done)];
        let ends = ends.into_iter().flatten().collect();
        Self { head, form, output, choices, logprobs, usage, ends }
    }

    fn role(&self, out: &mut BytesMut, choice: usize) {
        let begin = r#"{"role":"assistant","content":"#;
        match &self.form {
            Form::Call(call) => {
                let call = call.begin(choice, true);
                let arguments = r#""}}]}"#;
                self.choice(out, choice, &[begin, &call, arguments], None, "null");
            }
            Form::Message | Form::Text => {
                self.choice(out, choice, &[begin, r#""","refusal":null}"#], None, "null");
            }
        }
    }

    fn text(&self, out: &mut BytesMut, choice: usize, text: &str, logprobs: Option<&str>) {
        let (begin, end) = match self.form {
            Form::Message => (r#"{"content":""#, r#""}"#),
            Form::Call(_) => (r#"{"tool_calls":[{"index":0,"function":{"arguments":""#, r#""}}]}"#),
            Form::Text => (r#"""#, r#"""#),
        };
        self.choice(out, choice, &[begin, text, end], logprobs, "null");
    }

    fn token(&self, out: &mut BytesMut, choice: usize, index: usize) {
        let logprobs = self.logprobs.and_then(|logprobs| match self.form {
            Form::Message => Some(logprobs.chat(&self.output, index..index + 1)),
            Form::Text => Some(logprobs.text(&self.output, index..index + 1)),
            Form::Call(_) => None,
        });
        self.text(out, choice, &self.output.escaped(index), logprobs.as_deref());
    }

    fn finish(&self, out: &mut BytesMut, choice: usize) {
        match self.form {
            Form::Message => self.choice(out, choice, &["{}"], None, r#""stop""#),
            Form::Call(_) => self.choice(out, choice, &["{}"], None, r#""tool_calls""#),
            Form::Text => self.choice(out, choice, &[r#""""#], None, r#""stop""#),
        }
    }

    fn each(&self, mut write: impl FnMut(usize)) {
        (0..self.choices).for_each(&mut write);
    }

    /// Writes a chunk that has a choice: its delta or text in parts, and the reason of its end.
    fn choice(
        &self,
        out: &mut BytesMut,
        choice: usize,
        said: &[&str],
        logprobs: Option<&str>,
        reason: &str,
    ) {
        self.begin(out);
        out.put_slice(br#"{"index":"#);
        // Most streams have one choice only.
        if choice == 0 {
            out.put_slice(b"0");
        } else {
            out.put_slice(choice.to_string().as_bytes());
        }
        out.put_slice(match self.form {
            Form::Text => br#","text":"#,
            Form::Message | Form::Call(_) => br#","delta":"#.as_slice(),
        });
        for part in said {
            out.put_slice(part.as_bytes());
        }
        out.put_slice(br#","logprobs":"#);
        out.put_slice(logprobs.unwrap_or("null").as_bytes());
        out.put_slice(br#","finish_reason":"#);
        out.put_slice(reason.as_bytes());
        out.put_slice(b"}");
        self.end(out, None);
    }

    fn begin(&self, out: &mut BytesMut) {
        out.put_slice(b"data: {");
        out.put_slice(self.head.as_bytes());
        out.put_slice(br#","choices":["#);
    }

    /// Ends a chunk with its usage, which is null on all but one.
    fn end(&self, out: &mut BytesMut, usage: Option<&str>) {
        out.put_slice(b"]");
        if self.usage.is_some() {
            out.put_slice(br#","usage":"#);
            out.put_slice(usage.unwrap_or("null").as_bytes());
        }
        out.put_slice(b"}\n\n");
    }
}

impl Events for Chunks {
    fn steps(&self) -> Steps {
        let before = match self.form {
            Form::Message => 1,
            Form::Call(_) => 2,
            Form::Text => 0,
        };
        Steps { before, tokens: self.output.tokens(), after: self.ends.len() }
    }

    fn size(&self) -> usize {
        let logprobs = self.logprobs.map_or(0, Logprobs::size);
        // JSON around the longest word.
        (self.head.len() + 160 + logprobs) * self.choices
    }

    fn write(&self, step: Step, out: &mut BytesMut) {
        match step {
            Step::Before(0) => self.each(|choice| self.role(out, choice)),
            Step::Before(_) => self.each(|choice| self.text(out, choice, ARGUMENTS[0], None)),
            Step::Token(index) => self.each(|choice| self.token(out, choice, index)),
            Step::After(place) => match self.ends[place] {
                End::Close => self.each(|choice| self.text(out, choice, ARGUMENTS[1], None)),
                End::Finish => self.each(|choice| self.finish(out, choice)),
                End::Usage => {
                    self.begin(out);
                    self.end(out, self.usage.as_deref());
                }
                End::Done => out.put_slice(b"data: [DONE]\n\n"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{
        super::{
            content::{head, quoted, usage},
            script::Script,
            words,
        },
        *,
    };

    /// The chunks of a stream that ends as it should.
    fn chunks(mut script: Script) -> Vec<Value> {
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
        let head = head("x", "y", "a \"model\"");
        Script::new(Chunks::new(head, form, Output::words(3), 1, None, usage))
    }

    fn call() -> Form {
        Form::Call(Call { id: "call_".to_owned(), name: quoted("look") })
    }

    #[test]
    fn message_has_role_first_and_reason_last() {
        let events = chunks(script(Form::Message, None));
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
    fn usage_is_null_but_in_the_last_chunk_which_has_no_choice() {
        let events = chunks(script(Form::Text, Some(usage(4, 3))));
        let (last, others) = events.split_last().expect("events");
        assert!(others.iter().all(|event| event.get("usage") == Some(&Value::Null)));
        assert_eq!(last["choices"], serde_json::json!([]));
        assert_eq!(last["usage"]["total_tokens"], 7);
    }

    #[test]
    fn pieces_of_a_calls_arguments_are_json() {
        let events = chunks(script(call(), None));
        let call = |event: &Value| event["choices"][0]["delta"]["tool_calls"][0].clone();
        assert_eq!(call(&events[0])["function"]["name"], "look");
        assert_eq!(call(&events[0])["id"], "call_0");
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
    fn stream_stops_after_so_many_tokens_and_before_its_end() {
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
