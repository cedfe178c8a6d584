//! Endpoints that are passed on: with keys, limits and usage as chats.

use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use crate::{
    gateway::support::{Client, Reply, Setup, crowd},
    scripted::Scripted,
    store::support::{Store, created},
    support::{Server, agent, answer, post, wait},
};

/// An upstream that answers each path with its usage, in the form that belongs to it.
fn upstream() -> Scripted {
    Scripted::answering(|head, body| {
        let is_stream = memchr::memmem::find(&body, b"\"stream\":true").is_some();
        let usage = json!({ "input_tokens": 11, "output_tokens": 7 });
        match head.uri.path() {
            "/v1/responses" if is_stream => {
                let event = |kind: &str, fields: Value| {
                    let mut event = json!({ "type": kind });
                    event
                        .as_object_mut()
                        .expect("an object")
                        .extend(fields.as_object().expect("fields").clone());
                    format!("event: {kind}\ndata: {event}\n\n")
                };
                let text = [
                    event("response.created", json!({ "response": { "usage": null } })),
                    event("response.output_text.delta", json!({ "delta": "hello" })),
                    event("response.completed", json!({ "response": { "usage": usage } })),
                ];
                ([("content-type", "text/event-stream")], text.concat()).into_response()
            }
            "/v1/audio/translations" => {
                ([("content-type", "text/plain; charset=utf-8")], "hello, hello").into_response()
            }
            "/v1/audio/speech" => ([("content-type", "audio/mpeg")], "ID3").into_response(),
            "/v1/audio/transcriptions" => {
                axum::Json(json!({ "text": "hello, hello" })).into_response()
            }
            _ => {
                axum::Json(json!({ "id": "x", "model": "theirs", "usage": usage })).into_response()
            }
        }
    })
}

fn gateway(upstream: &Scripted, rest: &str) -> Server {
    let model = "upstreams = [\"a\"]\nrename = \"theirs\"";
    let more = "[models.\"*\"]\nupstreams = [\"a\"]\n";
    let rest = format!("{more}{rest}");
    Setup { upstreams: vec![upstream.address], each: "discover = false", model, rest: &rest }
        .start()
}

/// A form with a model and a file.
fn form(model: &str) -> (String, String) {
    let part = |headers: &str, content: &str| {
        format!("--xyz\r\ncontent-disposition: form-data; {headers}\r\n\r\n{content}\r\n")
    };
    let file = part("name=\"file\"; filename=\"a.wav\"\r\ncontent-type: audio/wav", "RIFF\r\n--no");
    let model = if model.is_empty() { String::new() } else { part("name=\"model\"", model) };
    (format!("{file}{model}--xyz--\r\n"), "multipart/form-data; boundary=xyz".to_owned())
}

#[test]
fn each_endpoint_is_passed_on_and_counted() {
    let store = Store::sqlite();
    let upstream = upstream();
    let server = gateway(&upstream, &store.section());
    let (_, key) = created(&store.keys(&["create", "--name=test"]));
    let bearer = ("authorization", format!("Bearer {key}"));
    let api_key = ("x-api-key", key.clone());
    let (form, form_type) = form("mock");
    let body = |fields: &str| format!(r#"{{"model":"mock",{fields}}}"#);
    let json_type = "application/json".to_owned();
    let cases = [
        ("/v1/responses", body(r#""input":"hello","stream":false"#), &json_type, [11, 7]),
        ("/v1/responses", body(r#""input":"hello","stream":true"#), &json_type, [11, 7]),
        ("/v1/messages", body(r#""messages":[],"max_tokens":9"#), &json_type, [11, 7]),
        ("/v1/messages/count_tokens", body(r#""messages":[]"#), &json_type, [0, 0]),
        ("/v1/moderations", body(r#""input":"hello""#), &json_type, [11, 7]),
        ("/v1/images/generations", body(r#""prompt":"a cat""#), &json_type, [11, 7]),
        ("/v1/audio/speech", body(r#""input":"hello","voice":"x""#), &json_type, [2, 0]),
        ("/v1/audio/transcriptions", form.clone(), &form_type, [0, 3]),
        ("/v1/audio/translations", form.clone(), &form_type, [0, 3]),
        ("/v1/images/edits", form, &form_type, [11, 7]),
        ("/v1/rerank", body(r#""query":"a","documents":["b"]"#), &json_type, [11, 7]),
        ("/rerank", body(r#""query":"a","documents":["b"]"#), &json_type, [11, 7]),
        ("/v2/rerank", body(r#""query":"a","documents":["b"]"#), &json_type, [11, 7]),
    ];
    for (place, (path, body, content_type, tokens)) in cases.iter().enumerate() {
        let (name, value) = if place % 2 == 0 { &bearer } else { &api_key };
        let request = agent().post(server.api(path)).header(*name, value);
        let request = request.header("accept", "application/octet-stream;q=0.5, */*");
        let request = request.header("content-type", content_type.as_str());
        let answered = answer(request.send(body).expect("an answer"));
        assert_eq!(answered.status, 200, "{path}: {}", answered.text);
        let asked = if path.contains("rerank") { "/v1/rerank" } else { path };
        let had = upstream.had(asked).pop().expect("a request");
        assert_eq!(
            (had.header("content-type"), had.header("x-api-key")),
            (content_type.as_str(), "")
        );
        let expected = body.replace("\"mock\"", "\"theirs\"").replace("\r\nmock\r", "\r\ntheirs\r");
        assert_eq!(String::from_utf8_lossy(&had.body), expected, "{path}");
        wait("the row is written", || store.rows() as usize == place + 1);
        let tokens_of_last = "SELECT 1000 * prompt_tokens + completion_tokens FROM ledger \
                              WHERE model = 'mock' ORDER BY id DESC LIMIT 1";
        assert_eq!(store.number(tokens_of_last), 1000 * tokens[0] + tokens[1], "{path}");
    }
    let endpoints = "SELECT COUNT(DISTINCT endpoint) FROM ledger";
    assert_eq!(store.number(endpoints), 10);
    let bound = store.keys(&["create", "--name=bound", "--requests-per-minute=1"]);
    let (_, key) = created(&bound);
    let ask = || {
        let request = agent().post(server.api("/v1/responses")).content_type("application/json");
        let request = request.header("authorization", format!("Bearer {key}"));
        answer(request.send(r#"{"model":"mock","input":"a"}"#).expect("an answer")).status
    };
    assert_eq!([ask(), ask()], [200, 429]);
}

#[test]
fn model_that_openai_takes_by_default_need_not_be_named() {
    let upstream = upstream();
    let server = gateway(&upstream, "");
    let answered = post(&server.api("/v1/moderations"), r#"{"input":"a"}"#);
    assert_eq!(answered.status, 200, "{}", answered.text);
    assert_eq!(upstream.had("/v1/moderations")[0].json(), json!({ "input": "a" }));
    for path in ["/v1/responses", "/v1/audio/speech"] {
        let refused = post(&server.api(path), r#"{"input":"a"}"#);
        assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("model")), "{path}");
    }
    let (body, form_type) = form("");
    let request = agent().post(server.api("/v1/audio/transcriptions"));
    let refused = answer(request.header("content-type", form_type).send(body).expect("an answer"));
    assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("model")));
    let wrong = post(&server.api("/v1/audio/transcriptions"), "{}");
    assert_eq!(wrong.status, 415, "{}", wrong.text);
    assert!(wrong.text.contains("multipart/form-data"), "{}", wrong.text);
}

#[test]
fn compressed_bodies_are_read_within_bounds() {
    let server = gateway(&upstream(), "[api]\nbody_limit = \"64KiB\"\n");
    let text = format!(r#"{{"model":"mock","messages":[],"x":"{}"}}"#, "a".repeat(10_000));
    let pack = |program: &str, args: &[&str], text: &str| {
        let mut child = std::process::Command::new(program)
            .args(args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut stdin = child.stdin.take().expect("piped");
        let text = text.to_owned();
        let writing =
            std::thread::spawn(move || std::io::Write::write_all(&mut stdin, text.as_bytes()));
        let packed = child.wait_with_output().expect("ran").stdout;
        writing.join().expect("no panic").expect("written");
        packed
    };
    let send = |encoding: &str, body: &[u8]| {
        let request = agent().post(server.api("/v1/chat/completions"));
        let request = request.content_type("application/json").header("content-encoding", encoding);
        answer(request.send(body).expect("an answer"))
    };
    let gzip = |text: &str| pack("gzip", &["-c"], text);
    let read = send("gzip", &gzip(&text));
    assert_eq!(read.status, 200, "{}", read.text);
    let bomb = gzip(&format!(r#"{{"model":"mock","x":"{}"}}"#, "a".repeat(50_000_000)));
    assert!(bomb.len() < 64 << 10);
    assert_eq!(send("gzip", &bomb).status, 413);
    assert_eq!(send("gzip", text.as_bytes()).status, 400);
    let other = send("lz4", b"x");
    assert_eq!(other.status, 415);
    assert!(other.error()["message"].as_str().expect("text").contains("gzip, deflate, br, zstd"));
}

#[test]
fn mistaken_paths_have_a_hint() {
    let server = Server::start();
    for (path, meant) in [
        ("/v1/embeddings/", "/v1/embeddings is there"),
        ("/chat/completions", "/v1/chat/completions is there"),
        ("/v1/v1/models", "/v1/models is there"),
        ("/v1/v1/chat/completions", "/v1/chat/completions is there"),
        ("/openai/v1/embeddings", "/v1/embeddings is there"),
        (
            "/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "/v1/chat/completions is there",
        ),
        ("/v1/engines/e/completions", "/v1/completions is there"),
        ("/api/chat", "/v1/chat/completions is there"),
        ("/api/generate", "/v1/completions is there"),
        ("//v1/chat/completions", "/v1/chat/completions is there"),
    ] {
        let refused = post(&server.api(path), "{}");
        assert_eq!(refused.status, 404);
        let message = refused.error()["message"].to_string();
        assert!(message.contains(meant), "{message}");
    }
}

#[test]
fn query_of_a_client_is_not_passed_on() {
    let upstream = upstream();
    let server = gateway(&upstream, "[log]\nfilter = \"thermograph=debug\"\n");
    let path = "/v1/chat/completions?api-version=1&api-key=hunter2";
    let answered = post(&server.api(path), r#"{"model":"mock","messages":[]}"#);
    assert_eq!(answered.status, 200, "{}", answered.text);
    assert_eq!(upstream.had("/v1/chat/completions")[0].head.uri.query(), None);
    wait("it is logged", || server.log().contains("query of the request ignored"));
    assert!(!server.log().contains("hunter2"), "{}", server.log());
}

#[test]
fn responses_that_are_stored_are_not_asked_for_twice() {
    let upstream = Scripted::answering(|_, _| {
        (http::StatusCode::BAD_GATEWAY, r#"{"error":{"message":"x"}}"#).into_response()
    });
    let server = gateway(&upstream, "");
    let runtime = crowd();
    let asked = |body: Value| {
        runtime.block_on(async {
            let mut client = Client::new(server.addresses.api);
            Reply::read(client.begin("/v1/responses", &body).await).await.status
        })
    };
    assert_eq!(asked(json!({ "model": "mock", "input": "a" })), 502);
    assert_eq!(upstream.requests(), 1);
    assert_eq!(asked(json!({ "model": "mock", "input": "a", "store": false })), 502);
    assert_eq!(upstream.requests(), 1 + 3);
}
