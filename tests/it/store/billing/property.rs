//! Random requests, answers, sizes and disconnects: each row says what the upstream really sent.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use http::{Request, header};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::{
    gateway,
    upstream::{self, Content, End, Script, read_events},
};
use crate::{
    gateway::support::{Client, Reply, crowd},
    support::{Server, wait},
};

const CASES: usize = 10_000;
/// Requests at a time.
const AT_ONCE: usize = 16;

/// A request, and how its client behaves.
#[derive(Clone, Debug)]
struct Case {
    path: &'static str,
    script: Script,
    stream_options: Option<Value>,
    prompt: String,
    expected: Row,
}

/// Row of the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Row {
    status: u16,
    prompt: u64,
    cached: u64,
    completion: u64,
    estimated: bool,
}

/// A usage as servers write it: its tokens of the prompt, those cached, those of the answer; `None` if
/// it does not say.
type Reported = (Value, Option<u64>, u64, Option<u64>);

fn usage() -> impl Strategy<Value = Reported> {
    (0..9_u8, 1..5000_u64, 1..5000_u64).prop_map(|(form, a, b)| match form {
        0 => (
            json!({ "prompt_tokens": a, "completion_tokens": b, "total_tokens": a + b }),
            Some(a),
            0,
            Some(b),
        ),
        1 => (
            json!({ "prompt_tokens": a, "prompt_tokens_details": { "cached_tokens": a / 2 },
                      "completion_tokens": b }),
            Some(a),
            a / 2,
            Some(b),
        ),
        2 => (json!({ "total_tokens": a }), Some(a), 0, Some(0)),
        3 => (json!({ "prompt_tokens": null, "completion_tokens": b }), None, 0, Some(b)),
        4 => (
            json!({ "prompt_tokens": a as f64, "completion_tokens": b as f64 }),
            Some(a),
            0,
            Some(b),
        ),
        5 => (
            json!({ "input_tokens": a, "output_tokens": b,
                      "input_tokens_details": { "cached_tokens": 1 } }),
            Some(a),
            1,
            Some(b),
        ),
        6 => (
            json!({ "input_tokens": a, "output_tokens": b, "cache_read_input_tokens": 3 }),
            Some(a + 3),
            3,
            Some(b),
        ),
        7 => (Value::Null, None, 0, None),
        _ => (json!({ "prompt_tokens": "?", "completion_tokens": b }), None, 0, Some(b)),
    })
}

fn end(tokens: usize) -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Whole),
        1 => Just(End::Linger),
        1 => (0..=tokens).prop_map(End::Stall),
        1 => (0..=tokens).prop_map(End::Cut),
    ]
}

fn stream_options() -> impl Strategy<Value = Option<Value>> {
    prop::sample::select(vec![
        None,
        Some(Value::Null),
        Some(json!({})),
        Some(json!({ "include_usage": false })),
        Some(json!({ "include_usage": true })),
        Some(json!({ "include_obfuscation": false })),
    ])
}

/// A text of so many bytes, and its tokens as they are estimated: a quarter of the JSON.
fn prompt() -> impl Strategy<Value = String> {
    (1..400_usize).prop_map(|length| "x".repeat(length))
}

fn messages(prompt: &str) -> Value {
    json!([{ "role": "user", "content": prompt }])
}

fn streamed() -> impl Strategy<Value = Case> {
    let tokens = 0..60_usize;
    let script = tokens.prop_flat_map(|tokens| (Just(tokens), usage(), end(tokens), 0..40_usize));
    (script, stream_options(), prompt()).prop_map(
        |((tokens, usage, end, piece), stream_options, prompt)| {
            let (text, reported, cached, completion) = usage;
            let estimate = (messages(&prompt).to_string().len() as u64).div_ceil(4);
            let expected = match end {
                End::Whole | End::Linger => Row {
                    status: 200,
                    prompt: reported.unwrap_or(estimate),
                    cached,
                    completion: completion.unwrap_or(tokens as u64),
                    estimated: reported.is_none(),
                },
                End::Stall(passed) | End::Cut(passed) => Row {
                    status: if matches!(end, End::Stall(_)) { 499 } else { 502 },
                    prompt: estimate,
                    cached: 0,
                    completion: passed as u64,
                    estimated: true,
                },
            };
            let content = Content::Stream { tokens, usage: text };
            let script = Script { content, piece, end, ..Script::stream(0) };
            Case { path: "/v1/chat/completions", script, stream_options, prompt, expected }
        },
    )
}

/// Fields around the usage, of so many bytes; now and then more than is kept whole.
fn fields() -> impl Strategy<Value = String> {
    let size = prop_oneof![60 => 0..200_usize, 20 => 20_000..90_000_usize, 1 => 1_100_000..1_300_000_usize];
    size.prop_map(|size| {
        let numbers = "0.5,".repeat(size / 4);
        format!(
            r#""data":[{numbers}1],"metadata":{{"usage":{{"prompt_tokens":1}},"a":"\"usage\":{{"}}"#
        )
    })
}

fn whole() -> impl Strategy<Value = Case> {
    let paths = ["/v1/embeddings", "/v1/rerank", "/v1/chat/completions"];
    let status = prop_oneof![9 => Just(200_u16), 1 => prop::sample::select(vec![400, 404, 422])];
    let path = prop::sample::select(paths.to_vec());
    (path, fields(), usage(), any::<bool>(), status, prompt()).prop_map(
        |(path, fields, usage, is_first, status, prompt)| {
            let (text, reported, cached, completion) = usage;
            let usage = format!(r#""usage":{text}"#);
            let object = if is_first { [usage, fields] } else { [fields, usage] }.join(",");
            let is_small = object.len() < 64 << 10;
            let estimate = (messages(&prompt).to_string().len() as u64).div_ceil(4);
            let text = format!("{{{object}}}");
            // A large answer of a chat that says nothing of its tokens is taken for text.
            let made = match path {
                "/v1/chat/completions" if !is_small => (text.len() as u64).div_ceil(4),
                _ => 0,
            };
            let expected = match status {
                200 => Row {
                    status,
                    prompt: reported.unwrap_or(estimate),
                    cached,
                    completion: completion.unwrap_or(made),
                    estimated: reported.is_none(),
                },
                _ => Row { status, prompt: 0, cached: 0, completion: 0, estimated: false },
            };
            let script = Script { status, ..Script::whole(text) };
            Case { path, script, stream_options: None, prompt, expected }
        },
    )
}

impl Case {
    fn request(&self, key: &str, id: usize) -> Request<http_body_util::Full<bytes::Bytes>> {
        let mut body = self.script.request();
        body["messages"] = messages(&self.prompt);
        if let Some(options) = &self.stream_options {
            body["stream_options"] = options.clone();
        }
        Request::post(self.path)
            .header(header::HOST, "gateway")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header("x-request-id", format!("case-{id}"))
            .body(body.to_string().into())
            .expect("a request")
    }

    fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options["include_usage"] == true)
    }

    /// Asks, and leaves where the upstream goes silent.
    async fn play(&self, server: &Server, key: &str, id: usize) {
        let mut client = Client::new(server.addresses.api);
        let response = client.send(self.request(key, id)).await;
        let events = match (self.script.end, &self.script.content) {
            (End::Stall(passed), _) => Some(passed + 1),
            (End::Linger, Content::Stream { tokens, usage }) => {
                // An event with the usage is kept from clients that do not want it, if it has one.
                let has_usage_event = self.wants_usage() || usage.is_null();
                Some(tokens + 2 + usize::from(has_usage_event))
            }
            _ => None,
        };
        let text = if let Some(events) = events {
            read_events(response.expect("an answer").into_body(), events).await
        } else {
            let reply = Reply::read(response).await;
            String::from_utf8(reply.body.to_vec()).expect("UTF-8")
        };
        if matches!(self.script.content, Content::Stream { .. }) {
            let has_usage =
                text.lines().filter_map(|line| line.strip_prefix("data: {")).any(|event| {
                    let event: Value = serde_json::from_str(&format!("{{{event}")).expect("JSON");
                    event.get("usage").is_some()
                });
            assert_eq!(has_usage, self.wants_usage(), "{self:?}: {text}");
        }
    }
}

async fn rows(url: &str) -> BTreeMap<String, Row> {
    let mut connection = SqliteConnection::connect(url).await.expect("connected");
    let statement = "SELECT request_id, status, prompt_tokens, cached_prompt_tokens, \
                     completion_tokens, estimated FROM ledger";
    let rows = sqlx::query(statement).fetch_all(&mut connection).await.expect("rows");
    let number = |row: &sqlx::sqlite::SqliteRow, column| row.get::<i64, usize>(column) as u64;
    let read = |row: &sqlx::sqlite::SqliteRow| Row {
        status: number(row, 1) as u16,
        prompt: number(row, 2),
        cached: number(row, 3),
        completion: number(row, 4),
        estimated: number(row, 5) == 1,
    };
    rows.iter().map(|row| (row.get(0), read(row))).collect()
}

#[test]
fn rows_say_what_the_upstream_sent_in_ten_thousand_cases() {
    let upstream = upstream::start();
    let (store, server, key) = gateway(&upstream, &[]);
    let mut runner = TestRunner::new(Config::default());
    let strategy = prop_oneof![2 => streamed(), 1 => whole()];
    let cases: Vec<Case> =
        (0..CASES).map(|_| strategy.new_tree(&mut runner).expect("a case").current()).collect();
    // Its threads close the connections of the last clients, after `block_on` has returned.
    let runtime = crowd();
    runtime.block_on(async {
        let plays = cases.iter().enumerate().map(|(id, case)| case.play(&server, &key, id));
        stream::iter(plays).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
    });
    wait("the rows are written", || store.rows() as usize == CASES);
    let rows = runtime.block_on(rows(&store.url));
    let wrong: Vec<_> = cases
        .iter()
        .enumerate()
        .filter(|(id, case)| rows[&format!("case-{id}")] != case.expected)
        .map(|(id, case)| {
            let mut case = case.clone();
            if let Content::Whole(text) = &mut case.script.content {
                text.truncate(300);
            }
            format!("{:?}\nfor {case:?}", rows[&format!("case-{id}")])
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} differ, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
}
