//! Tokens that were used are counted, whatever the client asks for and however it leaves.

mod property;
mod upstream;

use serde_json::{Value, json};

use self::upstream::{End, Script};
use super::support::{Mock, Store, ask, created, database, get, request};
use crate::{
    gateway::support::{Client, crowd, stream, whole},
    scripted::{Scripted, Sent},
    support::{agent, answer, wait},
};

/// A key with these limits, for a gateway before an upstream that plays scripts.
fn gateway(upstream: &Scripted, limits: &[&str]) -> (Store, crate::support::Server, String) {
    let store = Store::sqlite();
    let toml = format!(
        "{}[upstreams.a]\nurl = \"http://{}\"\n\
         discover = false\n[models.mock]\nupstreams = [\"a\"]\n\
         [gateway]\nbreaker_requests = 1000000\n",
        store.section(),
        upstream.address
    );
    let server = crate::support::Server::configured("127.0.0.1:0", &toml, &[]);
    let (_, key) = created(&store.keys(&[&["create", "--name=test"], limits].concat()));
    (store, server, key)
}

/// Posts a request for a script with a key.
fn play(server: &crate::support::Server, key: &str, path: &str, script: &Script) -> u16 {
    let request = agent().post(server.api(path)).content_type("application/json");
    let request = request.header("authorization", format!("Bearer {key}"));
    answer(request.send(script.request().to_string()).expect("an answer")).status
}

#[test]
fn plain_streams_cost_what_they_use_and_clients_see_no_usage() {
    let (store, mock) = (Store::sqlite(), Mock::start(&["--tokens=100"]));
    let server = store.gateway(&mock, "");
    let (_, key) = store.create(&["--monthly-tokens=200"]);
    let answers: Vec<_> = (0..20).map(|_| ask(&server, &key, &stream())).collect();
    let answered = answers.iter().take_while(|answer| answer.status == 200).count();
    assert!((2..=3).contains(&answered), "{answered} were answered");
    for answer in &answers[..answered] {
        assert!(!answer.text.contains("usage"), "{}", answer.text);
        assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
    }
    for refused in &answers[answered..] {
        assert_eq!(
            (refused.status, refused.error()["type"].as_str()),
            (429, Some("insufficient_quota"))
        );
    }
    wait("the rows are written", || store.rows() == 20);
    let sum = "SELECT SUM(completion_tokens) FROM ledger";
    assert_eq!(store.number(sum) as usize, 100 * answered);
    assert_eq!(store.number("SELECT SUM(estimated) FROM ledger"), 0);
    // A request that is refused has a row that says what it was for.
    assert_eq!(store.number("SELECT COUNT(*) FROM ledger WHERE model = 'mock'"), 20);
}

#[test]
fn streams_whose_clients_leave_cost_what_was_passed_on() {
    let (store, mock) = (Store::sqlite(), Mock::start(&["--tokens=1000"]));
    mock.change(&json!({ "stall_rate": 1.0, "stall_after": 150 }));
    let server = store.gateway(&mock, "");
    let (_, key) = store.create(&["--monthly-tokens=1000"]);
    let mut body = stream();
    body["stream_options"] = json!({ "include_usage": true });
    // Its threads close connections that were dropped.
    let runtime = crowd();
    let mut statuses = Vec::new();
    for row in 0..10 {
        let status = runtime.block_on(async {
            let mut client = Client::new(server.addresses.api);
            let response = client.send(request(&key, &body)).await.expect("an answer");
            let status = response.status().as_u16();
            if status == 200 {
                upstream::read_events(response.into_body(), 151).await;
            }
            status
        });
        statuses.push(status);
        wait("the row is written", || store.rows() > row);
    }
    let answered = statuses.iter().take_while(|status| **status == 200).count();
    assert_eq!(statuses[answered..], vec![429; 10 - answered]);
    // Each costs 150 tokens, and its prompt.
    assert!((6..=7).contains(&answered), "{answered} were answered");
    let counted = "SELECT COUNT(*) FROM ledger WHERE status = 499 AND completion_tokens = 150 \
                   AND prompt_tokens > 0 AND estimated";
    assert_eq!(store.number(counted) as usize, answered);
}

#[test]
fn client_that_leaves_after_the_last_event_has_had_its_answer() {
    let upstream = upstream::start();
    let (store, server, key) = gateway(&upstream, &[]);
    // The connection stays open after the last event.
    let script = Script { end: End::Linger, ..Script::stream(7) };
    crowd().block_on(async {
        let mut client = Client::new(server.addresses.api);
        let response = client.send(request(&key, &script.request())).await.expect("an answer");
        let text = upstream::read_events(response.into_body(), 1 + 7 + 1).await;
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    });
    wait("the row is written", || store.rows() == 1);
    let whole = "SELECT COUNT(*) FROM ledger WHERE status = 200 AND completion_tokens = 7 \
                 AND prompt_tokens = 3 AND NOT estimated";
    assert_eq!(store.number(whole), 1);
}

#[test]
fn client_that_leaves_before_the_answer_pays_for_its_prompt() {
    let (store, mock) = (Store::sqlite(), Mock::start(&["--hang-rate=1"]));
    let server = store.gateway(&mock, "");
    let (_, key) = store.create(&[]);
    let prompt = "a prompt of some length ".repeat(100);
    let mut body = whole();
    body["messages"][0]["content"] = json!(prompt);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut client = Client::new(server.addresses.api);
        let asking = client.send(request(&key, &body));
        tokio::select! {
            answer = asking => panic!("{answer:?}"),
            () = async {
                while mock.counts().hung == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            } => {}
        }
    });
    wait("the row is written", || store.rows() == 1);
    let counted = "SELECT prompt_tokens FROM ledger WHERE status = 499 AND estimated";
    assert!(store.number(counted) as usize >= prompt.len() / 4);
}

#[test]
fn answers_of_any_size_and_form_are_counted() {
    let upstream = upstream::start();
    let (store, server, key) = gateway(&upstream, &[]);
    let padding = "[0.125,".repeat(10) + "1" + &"]".repeat(10);
    let large = format!("[{}1]", "0.12345678,".repeat(170_000));
    let cases: Vec<(&str, String, [i64; 3])> = vec![
        (
            "/v1/embeddings",
            format!(r#"{{"data":{padding},"usage":{{"prompt_tokens":7}}}}"#),
            [7, 0, 0],
        ),
        (
            "/v1/embeddings",
            format!(r#"{{"data":{large},"usage":{{"prompt_tokens":7}}}}"#),
            [7, 0, 0],
        ),
        (
            "/v1/embeddings",
            format!(r#"{{"usage":{{"total_tokens":7}},"data":{large}}}"#),
            [7, 0, 0],
        ),
        ("/v1/rerank", r#"{"results":[],"usage":{"total_tokens":56}}"#.to_owned(), [56, 0, 0]),
        (
            "/v1/rerank",
            r#"{"results":[],"meta":{"tokens":{"input_tokens":56,"output_tokens":0}}}"#.to_owned(),
            [56, 0, 0],
        ),
        (
            "/v1/chat/completions",
            r#"{"choices":[{}],"usage":{"prompt_tokens":10.0,"completion_tokens":1e1}}"#.to_owned(),
            [10, 0, 10],
        ),
        (
            "/v1/chat/completions",
            r#"{"choices":[{}],"usage":{"prompt_tokens":9,"completion_tokens":10,
                "prompt_tokens_details":{"cached_tokens":8}}}"#
                .to_owned(),
            [9, 8, 10],
        ),
    ];
    let mut expected = [0; 3];
    for (path, text, usage) in &cases {
        assert_eq!(play(&server, &key, path, &Script::whole(text.clone())), 200, "{path}");
        for (sum, one) in expected.iter_mut().zip(usage) {
            *sum += one;
        }
    }
    wait("the rows are written", || store.rows() as usize == cases.len());
    let totals = get(&server, &key, "/v1/usage").json()["totals"].take();
    let [prompt, cached, completion] = expected;
    assert_eq!(
        totals,
        json!({ "requests": cases.len(), "errors": 0, "cached": 0, "prompt_tokens": prompt,
                "cached_prompt_tokens": cached, "completion_tokens": completion, "estimated": 0 })
    );
    let of_nobody = r#"{"choices":[{}],"usage":{"prompt_tokens":null,"completion_tokens":10}}"#;
    play(&server, &key, "/v1/chat/completions", &Script::whole(of_nobody.to_owned()));
    wait("the row is written", || store.rows() as usize == cases.len() + 1);
    let estimated = "SELECT prompt_tokens FROM ledger WHERE estimated AND completion_tokens = 10";
    assert!(store.number(estimated) > 0);
}

#[test]
fn budget_holds_for_large_answers() {
    let upstream = upstream::start();
    let (_store, server, key) = gateway(&upstream, &["--monthly-tokens=5"]);
    let data = "0.12345678,".repeat(170_000);
    let script = Script::whole(format!(r#"{{"data":[{data}1],"usage":{{"total_tokens":7}}}}"#));
    assert_eq!(play(&server, &key, "/v1/embeddings", &script), 200);
    wait("it is spent", || play(&server, &key, "/v1/embeddings", &script) == 429);
}

#[test]
fn upstream_that_takes_no_stream_options_is_not_asked_again() {
    let upstream = upstream::start();
    let (store, server, key) = gateway(&upstream, &[]);
    let script = Script { refuses_stream_options: true, ..Script::stream(7) };
    for _ in 0..3 {
        assert_eq!(play(&server, &key, "/v1/chat/completions", &script), 200);
    }
    wait("the rows are written", || store.rows() == 3);
    assert_eq!(upstream.requests(), 4, "asked once, and never again");
    let estimated = "SELECT SUM(completion_tokens) FROM ledger WHERE estimated";
    assert_eq!(store.number(estimated), 21);
    assert_eq!(server.log().matches("stream_options refused").count(), 1);
    // The client's own are the client's business.
    let mut asked = script.request();
    asked["stream_options"] = json!({ "include_usage": true });
    assert_eq!(ask(&server, &key, &asked).status, 400);
}

#[test]
fn numbers_of_tokens_are_reserved_in_whatever_form_they_are() {
    let (store, mock) = (Store::sqlite(), Mock::start(&[]));
    let server = store.gateway(&mock, "");
    let (_, key) = store.create(&["--tokens-per-minute=100"]);
    let with = |fields: Value| {
        let mut body = whole();
        let fields = fields.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(fields);
        ask(&server, &key, &body)
    };
    for fields in [
        json!({ "max_completion_tokens": 1, "max_tokens": 10_000 }),
        json!({ "max_tokens": 10_000.0 }),
        json!({ "max_tokens": 1e4 }),
        json!({ "max_tokens": 1e22 }),
        json!({ "max_tokens": 10, "n": 50.0 }),
        json!({ "max_tokens": 10, "best_of": 50 }),
        json!({ "max_tokens": 10, "prompt": vec!["a"; 50] }),
    ] {
        let refused = with(fields.clone());
        assert_eq!(
            (refused.status, refused.error()["type"].as_str()),
            (429, Some("tokens")),
            "{fields}"
        );
    }
    for fields in [json!({ "max_tokens": "10000" }), json!({ "n": 1.5 }), json!({ "n": [1] })] {
        let refused = with(fields.clone());
        assert_eq!(refused.status, 400, "{fields}");
        let message = refused.error()["message"].to_string();
        assert!(message.contains("is not allowed: a whole number"), "{message}");
    }
    assert_eq!(with(json!({ "max_tokens": 10 })).status, 200);
    let models = database::texts(&store.url, "SELECT DISTINCT model FROM ledger");
    assert!(models.iter().all(|model| model == "mock"), "{models:?}");
}

#[test]
fn pictures_in_long_events_cost_no_text_and_what_follows_is_counted() {
    let picture = "QUJD".repeat(700_000);
    let long = |kind: &str, rest: &str| {
        let picture = format!("\"output\":[{{\"result\":\"{picture}\"}}]");
        format!("data: {{\"type\":\"{kind}\",\"response\":{{{picture}{rest}}}}}\n\n")
    };
    let delta = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"word \"}\n\n".repeat(3);
    let usage = ",\"usage\":{\"input_tokens\":7,\"output_tokens\":9}";
    for (rest, prompt, completion, estimated) in [(usage, 7..8, 9..10, 0), ("", 1..99, 3..700, 1)] {
        let body = [
            long("response.image_generation_call.partial_image", ""),
            delta.clone(),
            long("response.completed", rest),
        ];
        let body = body.concat();
        let upstream = Scripted::start(Sent {
            content_type: "text/event-stream",
            body: body.clone(),
            ..Sent::default()
        });
        let (store, server, key) = gateway(&upstream, &[]);
        let request = agent().post(server.api("/v1/responses")).content_type("application/json");
        let request = request.header("authorization", format!("Bearer {key}"));
        let asked = json!({ "model": "mock", "stream": true, "input": "draw" });
        let answered = answer(request.send(asked.to_string()).expect("an answer"));
        assert_eq!(answered.text, body, "passed on as it came");
        wait("the row is written", || store.rows() == 1);
        let number = |statement| store.number(statement);
        assert!(prompt.contains(&number("SELECT prompt_tokens FROM ledger")));
        let counted = number("SELECT completion_tokens FROM ledger");
        assert!(completion.contains(&counted), "{counted}");
        assert_eq!(number("SELECT estimated FROM ledger"), estimated);
    }
}
