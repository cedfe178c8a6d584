//! The AI API.

use std::{io::Write as _, net::TcpStream};

use serde_json::{Value, json};

use crate::{
    gateway::support::{CHAT, Mock, gateway},
    support::{MODEL, Server, agent, answer, get, post, wait},
};

fn floats(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .expect("numbers")
        .iter()
        .map(|v| v.as_f64().expect("a number") as f32)
        .collect()
}

#[test]
fn vectors_are_normalised_and_usage_is_counted() {
    let server = Server::start();
    let input = ["This is an example sentence", "Each sentence is converted"];
    let answer = server.embed(&json!({ "model": MODEL, "input": input }));
    assert_eq!(answer.status, 200);
    assert!(answer.header("server-timing").contains("infer;dur="), "{answer:?}");
    let body = answer.json();
    assert_eq!(body["object"], "list");
    assert_eq!(body["model"], MODEL);
    // 7 and 6 with the special ones.
    assert_eq!(body["usage"], json!({ "prompt_tokens": 13, "total_tokens": 13 }));
    let data = body["data"].as_array().expect("a list");
    assert_eq!(data.len(), 2);
    for (index, object) in data.iter().enumerate() {
        assert_eq!((&object["object"], &object["index"]), (&json!("embedding"), &json!(index)));
        let vector = floats(&object["embedding"]);
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert_eq!(vector.len(), 384);
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }
}

#[test]
fn what_is_not_allowed_is_a_400_that_names_it() {
    let server = Server::start();
    let many = vec!["a"; 2049];
    let cases = [
        (json!({ "model": MODEL, "input": "" }), "input", "empty"),
        (json!({ "model": MODEL, "input": [] }), "input", "0 entries"),
        (json!({ "model": MODEL, "input": ["a", ""] }), "input", "input[1]"),
        (
            json!({ "model": MODEL, "input": many }),
            "input",
            "2049 entries are not allowed: 1 to 2048",
        ),
        (json!({ "model": MODEL, "input": [1, 30522] }), "input", "token ids are refused"),
        (json!({ "model": MODEL, "input": 1 }), "input", "invalid type: integer `1`"),
        (json!({ "model": MODEL, "input": "a", "dimensions": 0 }), "dimensions", "1 to 384"),
        (json!({ "model": MODEL, "input": "a", "dimensions": 385 }), "dimensions", "1 to 384"),
        (
            json!({ "model": MODEL, "input": "a", "encoding_format": "hex" }),
            "encoding_format",
            "`float` or `base64`",
        ),
    ];
    for (body, param, said) in cases {
        let answer = server.embed(&body);
        assert_eq!(answer.status, 400, "{answer:?}");
        let error = answer.error();
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().expect("text").contains(said), "{error}");
    }
    let broken = post(&server.api("/v1/embeddings"), "{\"model\": ");
    assert_eq!(broken.status, 400);
    assert!(broken.error()["message"].as_str().expect("text").contains("not JSON"));
}

#[test]
fn body_that_is_no_object_is_400() {
    let mock = Mock::start(&[]);
    let server = gateway(&[&mock], "");
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/rerank", "/v1/embeddings"] {
        for (body, kind) in [
            (r#"["mock", true]"#, "an array"),
            (r#" ["mock", "a"]"#, "an array"),
            (r#""mock""#, "a string"),
            ("1", "a number"),
            ("true", "a boolean"),
            ("null", "null"),
        ] {
            let refused = post(&server.api(path), body);
            assert_eq!(refused.status, 400, "{path} {body}: {refused:?}");
            let error = refused.error();
            assert_eq!(error["message"], format!("the body is {kind}: expected a JSON object"));
        }
    }
    // The other codecs are translated first.
    let array = [0x92, 0xa4, b'm', b'o', b'c', b'k', 0xc3];
    let request = agent().post(server.api(CHAT)).content_type("application/msgpack");
    let refused = answer(request.send(&array[..]).expect("an answer"));
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(mock.counts().requests_total, 0);
}

#[test]
fn what_is_not_there_is_an_error_object_too() {
    let server = Server::start();
    let unknown = server.embed(&json!({ "model": "gpt-7", "input": "a" }));
    assert_eq!((unknown.status, &unknown.error()["code"]), (404, &json!("model_not_found")));
    let model = get(&server.api("/v1/models/gpt-7"));
    assert_eq!((model.status, &model.error()["code"]), (404, &json!("model_not_found")));
    assert_eq!(get(&server.api("/v2/anything")).error()["code"], "unknown_url");
    let wrong = get(&server.api("/v1/embeddings"));
    assert_eq!((wrong.status, &wrong.error()["code"]), (405, &json!("method_not_allowed")));
    let text = agent().post(server.api("/v1/embeddings")).content_type("text/plain").send("a");
    assert_eq!(answer(text.expect("an answer")).status, 415);
}

#[test]
fn models_are_listed() {
    let server = Server::start();
    let list = get(&server.api("/v1/models")).json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], MODEL);
    let one = get(&server.api(&format!("/v1/models/{MODEL}"))).json();
    assert_eq!(one, list["data"][0]);
    assert!(one["created"].as_u64().expect("seconds") > 1_600_000_000);
}

#[test]
fn a_request_id_is_kept_and_made_where_there_is_none() {
    let server = Server::start();
    let url = server.api("/health/live");
    let given = agent().get(&url).header("x-request-id", "mine-1").call().expect("an answer");
    assert_eq!(answer(given).header("x-request-id"), "mine-1");
    let (first, second) = (get(&url), get(&url));
    assert!(first.header("x-request-id").starts_with("req_"));
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[test]
fn a_body_over_the_limit_is_refused_in_words_and_not_by_a_closed_connection() {
    let server = Server::start();
    let answer = post(&server.api("/v1/embeddings"), &"a".repeat(9 << 20));
    assert_eq!(answer.status, 413);
    assert_eq!(answer.error()["code"], "request_too_large");
    // Without a length announced, too.
    let mut body = std::io::Cursor::new(vec![b'a'; 9 << 20]);
    let reader = ureq::SendBody::from_reader(&mut body);
    let request = agent().post(server.api("/v1/embeddings")).content_type("application/json");
    assert_eq!(crate::support::answer(request.send(reader).expect("an answer")).status, 413);
}

#[test]
fn a_request_that_takes_too_long_is_cut_off_and_its_inputs_dropped() {
    let server = Server::with(&[("THERMOGRAPH_API_REQUEST_TIMEOUT", "10ms")]);
    let answer = server.embed(&json!({ "model": MODEL, "input": vec!["many of these"; 2048] }));
    assert_eq!((answer.status, &answer.error()["code"]), (504, &json!("timeout")));
    let log = server.log();
    assert!(
        log.contains(answer.header("x-request-id")) && log.contains("longer than 0.01 s"),
        "{log}"
    );
    wait("nothing is on its way", || server.metric("thermograph_engine_waiting_inputs") == 0);
    assert!(server.metric("thermograph_engine_dropped_inputs_total") > 0);
}

#[test]
fn a_small_request_passes_a_large_one_whose_inputs_are_dropped_when_its_client_leaves() {
    let server = Server::start();
    let text = "words that fill the queue ".repeat(30);
    let body = json!({ "model": MODEL, "input": vec![text; 2048] }).to_string();
    let length = body.len();
    let mut large = TcpStream::connect(server.addresses.api).expect("connected");
    let head =
        format!("POST /v1/embeddings HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n\r\n");
    large.write_all(format!("{head}{body}").as_bytes()).expect("sent");
    wait("the large one is admitted", || {
        server.metric("thermograph_engine_waiting_inputs") == 2048
    });
    assert_eq!(server.embed(&json!({ "model": MODEL, "input": "small" })).status, 200);
    // The large one's places are given back with its last input.
    assert_eq!(server.metric("thermograph_engine_waiting_inputs"), 2048);
    drop(large);
    wait("nothing is on its way", || server.metric("thermograph_engine_waiting_inputs") == 0);
    assert!(server.metric("thermograph_engine_dropped_inputs_total") > 1000);
}

#[test]
fn past_the_queue_requests_are_refused_with_when_to_come_back() {
    let server = Server::with(&[("THERMOGRAPH_ENGINE_QUEUE_INPUTS", "2048")]);
    let text = "long enough to keep the engine busy for a while ".repeat(8);
    std::thread::scope(|scope| {
        let full =
            scope.spawn(|| server.embed(&json!({ "model": MODEL, "input": vec![&text; 300] })));
        let _all =
            scope.spawn(|| server.embed(&json!({ "model": MODEL, "input": vec!["a"; 1748] })));
        wait("the queue is full", || server.metric("thermograph_engine_waiting_inputs") >= 2048);
        let refused = server.embed(&json!({ "model": MODEL, "input": vec!["a"; 2048] }));
        assert_eq!((refused.status, &refused.error()["code"]), (503, &json!("overloaded")));
        assert_eq!(
            (refused.header("retry-after"), refused.header("retry-after-ms")),
            ("1", "1000")
        );
        assert_eq!(server.metric("thermograph_engine_rejected_inputs_total"), 2048);
        assert_eq!(full.join().expect("no panic").status, 200);
    });
}

#[test]
fn without_a_model_the_server_starts_and_says_what_to_do() {
    let server = Server::with(&[("MODEL_DIR", "nowhere/all-MiniLM-L6-v2")]);
    assert_eq!(get(&server.api("/health/live")).status, 200);
    let answers =
        [get(&server.api("/health/ready")), server.embed(&json!({ "model": MODEL, "input": "a" }))];
    for answer in answers {
        assert_eq!((answer.status, answer.header("x-should-retry")), (503, "false"));
        let error = answer.error();
        let message = error["message"].as_str().expect("text");
        let said = "`model.int8.onnx` or `model.onnx` not found in `nowhere/all-MiniLM-L6-v2`";
        assert!(message.contains(said), "{message}");
        // That command gets the default model, into another folder.
        assert!(!message.contains("thermograph model pull"), "{message}");
        assert!(server.log().contains(message), "{}", server.log());
    }
    assert_eq!(get(&server.api("/v1/models")).json()["data"], json!([]));
}
