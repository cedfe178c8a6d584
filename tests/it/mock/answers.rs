//! What the mock says is what `OpenAI`'s clients read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{Answer, agent, answer, get, mock::Mock, post};

pub(super) const TEXT: &str = "Wärme flows from 東京 to Zürich";
const TOOL: &str = "look_up";

/// A mock that says [`TEXT`].
pub(super) fn mock() -> Mock {
    Mock::start(&["--tokens=6", "--models=mock,other/name"])
}

pub(super) fn chat(more: &Value) -> Value {
    let messages = json!([{ "role": "user", "content": "twelve bytes" }]);
    with(
        json!({ "model": "other/name", "messages": messages, "unknown": [1, { "a": null }] }),
        more,
    )
}

pub(super) fn with(mut body: Value, more: &Value) -> Value {
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    body
}

fn tools() -> Value {
    let tool = |name| json!({ "type": "function", "function": { "name": name, "parameters": {} } });
    json!({ "tools": [tool(TOOL), tool("other")] })
}

/// The events of a stream, without the one that ends it.
pub(super) fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
    let events = answer.text.strip_suffix("data: [DONE]\n\n").expect("the end");
    let events: Vec<Value> = events
        .split_terminator("\n\n")
        .map(|event| {
            serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON")
        })
        .collect();
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
    assert!(events.iter().all(|event| event["model"] == events[0]["model"]));
    events
}

/// The texts at a place in the events, put together.
pub(super) fn joined(events: &[Value], place: &str) -> String {
    events.iter().filter_map(|event| event.pointer(place)?.as_str()).collect()
}

#[test]
fn a_chat_is_answered_whole() {
    let answer = mock().post("/v1/chat/completions", &chat(&json!({})));
    assert_eq!(answer.status, 200);
    assert!(!answer.header("x-request-id").is_empty());
    let json = answer.json();
    assert!(json["id"].as_str().expect("an id").starts_with("chatcmpl-"));
    assert_eq!(
        (&json["object"], &json["model"]),
        (&json!("chat.completion"), &json!("other/name"))
    );
    assert!(json["created"].as_u64().expect("a time") > 1_700_000_000);
    let message = json!({ "role": "assistant", "content": TEXT, "refusal": null });
    let choice =
        json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" });
    assert_eq!(json["choices"], json!([choice]));
    // "user" and "twelve bytes", a token for each four bytes.
    let usage = json!({ "prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10 });
    assert_eq!(json["usage"], usage);
}

#[test]
fn a_chat_is_streamed() {
    let mock = mock();
    let events = events(&mock.post("/v1/chat/completions", &chat(&json!({ "stream": true }))));
    assert_eq!(events.len(), 8);
    assert_eq!(events[0]["object"], "chat.completion.chunk");
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(joined(&events, "/choices/0/delta/content"), TEXT);
    let reasons: Vec<_> =
        events.iter().map(|event| &event["choices"][0]["finish_reason"]).collect();
    let (last, others) = reasons.split_last().expect("events");
    assert!(*last == "stop" && others.iter().all(|reason| reason.is_null()));
    assert!(events.iter().all(|event| event.get("usage").is_none()));
}

#[test]
fn a_stream_has_its_usage_where_that_is_asked_for() {
    let mock = mock();
    let asked = json!({ "stream": true, "stream_options": { "include_usage": true } });
    for (path, body) in [
        ("/v1/chat/completions", chat(&asked)),
        ("/v1/completions", with(json!({ "model": "mock", "prompt": "twelve bytes..." }), &asked)),
    ] {
        let events = events(&mock.post(path, &body));
        let (last, others) = events.split_last().expect("events");
        assert!(others.iter().all(|event| event.get("usage") == Some(&Value::Null)), "{path}");
        assert_eq!(last["choices"], json!([]));
        let usage = json!({ "prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10 });
        assert_eq!(last["usage"], usage, "{path}");
    }
}

#[test]
fn the_first_tool_is_called_unless_that_is_forbidden() {
    let mock = mock();
    let json = mock.post("/v1/chat/completions", &chat(&tools())).json();
    assert_eq!(json["choices"][0]["finish_reason"], "tool_calls");
    let message = &json["choices"][0]["message"];
    assert_eq!(message["content"], Value::Null);
    let call = &message["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!(TOOL)));
    let whole = call["function"]["arguments"].as_str().expect("text").to_owned();
    assert_eq!(serde_json::from_str::<Value>(&whole).expect("JSON"), json!({ "text": TEXT }));

    let streamed = chat(&with(tools(), &json!({ "stream": true, "tool_choice": "auto" })));
    let events = events(&mock.post("/v1/chat/completions", &streamed));
    assert_eq!(joined(&events, "/choices/0/delta/tool_calls/0/function/name"), TOOL);
    assert_eq!(joined(&events, "/choices/0/delta/tool_calls/0/function/arguments"), whole);
    assert!(joined(&events, "/choices/0/delta/tool_calls/0/id").starts_with("call_"));
    assert_eq!(joined(&events, "/choices/0/finish_reason"), "tool_calls");
    assert!(events.len() > 8, "not in pieces: {events:?}");

    for none in [json!({ "tool_choice": "none" }), json!({ "tools": [] })] {
        let json = mock.post("/v1/chat/completions", &chat(&with(tools(), &none))).json();
        assert_eq!(json["choices"][0]["message"]["content"], TEXT, "{none}");
    }
}

#[test]
fn a_text_is_completed_whole_and_as_a_stream() {
    let mock = mock();
    let body = json!({ "model": "mock", "prompt": [1, 2, 3] });
    let json = mock.post("/v1/completions", &body).json();
    assert_eq!(json["object"], "text_completion");
    assert_eq!(json["choices"][0]["text"], TEXT);
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    assert_eq!(json["usage"]["prompt_tokens"], 3);

    let events = events(&mock.post("/v1/completions", &with(body, &json!({ "stream": true }))));
    assert_eq!(events.len(), 7);
    assert_eq!(joined(&events, "/choices/0/text"), TEXT);
    assert_eq!(joined(&events, "/choices/0/finish_reason"), "stop");
}

#[test]
fn a_text_has_one_vector_in_both_formats() {
    let mock = mock();
    let embed = |more: &Value| mock.post("/v1/embeddings", &with(json!({ "model": "mock" }), more));
    let numbers = |answer: &Answer, index: usize| -> Vec<f64> {
        let data = answer.json()["data"][index]["embedding"].take();
        serde_json::from_value(data).expect("numbers")
    };
    let both = embed(&json!({ "input": ["a text", "another"] }));
    assert_eq!(both.json()["usage"], json!({ "prompt_tokens": 4, "total_tokens": 4 }));
    assert_eq!(
        (both.json()["object"].take(), both.json()["data"][1]["index"].take()),
        (json!("list"), json!(1))
    );
    let vector = numbers(&both, 0);
    assert_eq!(vector.len(), 8);
    assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5, "{vector:?}");
    assert_ne!(vector, numbers(&both, 1));
    assert_eq!(vector, numbers(&embed(&json!({ "input": "a text" })), 0));

    let base64 = embed(&json!({ "input": "a text", "encoding_format": "base64" })).json();
    let bytes = STANDARD.decode(base64["data"][0]["embedding"].as_str().expect("text"));
    let bytes = bytes.expect("base64");
    let decoded =
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes")));
    let shown: Vec<_> = vector.iter().map(|number| *number as f32).collect();
    assert_eq!(decoded.collect::<Vec<_>>(), shown);

    let null = embed(&json!({ "input": "a text", "encoding_format": null, "dimensions": null }));
    assert_eq!(numbers(&null, 0), vector);
    let ids = embed(&json!({ "input": [[1, 2], [3]] }));
    assert_eq!(numbers(&ids, 0), numbers(&embed(&json!({ "input": [1, 2] })), 0));
    assert_eq!(ids.json()["usage"]["prompt_tokens"], 3);
    assert_eq!(numbers(&embed(&json!({ "input": "a", "dimensions": 3 })), 0).len(), 3);
    for bad in [
        json!({ "input": [] }),
        json!({ "input": "" }),
        json!({ "input": ["a", ""] }),
        json!({ "input": "a", "dimensions": 9 }),
        json!({ "input": "a", "encoding_format": "hex" }),
        json!({ "input": { "a": 1 } }),
        json!({}),
    ] {
        let refused = embed(&bad);
        assert_eq!(refused.status, 400, "{bad}: {refused:?}");
        refused.error();
    }
}

#[test]
fn documents_are_ranked_the_best_first() {
    let mock = mock();
    let documents = json!(["one", { "text": "two" }, "three", "four"]);
    let body = json!({ "model": "mock", "query": "a query", "documents": documents });
    let ranked = mock.post("/v1/rerank", &body).json();
    let results = ranked["results"].as_array().expect("a list");
    let scores: Vec<_> =
        results.iter().map(|result| result["relevance_score"].as_f64().expect("a score")).collect();
    assert_eq!(scores.len(), 4);
    assert!(scores.windows(2).all(|two| two[0] > two[1]), "{scores:?}");
    let texts = ["one", "two", "three", "four"];
    for result in results {
        let index = result["index"].as_u64().expect("a place") as usize;
        assert_eq!(result["document"]["text"], texts[index]);
    }
    assert!(ranked["id"].is_string() && ranked["usage"]["total_tokens"].is_u64());
    let best = mock.post("/v1/rerank", &with(body.clone(), &json!({ "top_n": 2 }))).json();
    assert_eq!(best["results"].as_array().expect("a list"), &results[..2]);
    for bad in [json!({ "top_n": 0 }), json!({ "documents": [] }), json!({ "documents": [1] })] {
        assert_eq!(mock.post("/v1/rerank", &with(body.clone(), &bad)).status, 400, "{bad}");
    }
}

#[test]
fn models_are_listed() {
    let mock = mock();
    let list = get(&mock.url("/v1/models")).json();
    let ids: Vec<_> = list["data"].as_array().expect("a list").iter().map(|m| &m["id"]).collect();
    assert_eq!(ids, ["mock", "other/name"]);
    assert_eq!(get(&mock.url("/v1/models/other/name")).json(), list["data"][1]);
    assert_eq!(get(&mock.url("/v1/models/none")).error()["code"], "model_not_found");
    assert_eq!(get(&mock.url("/health")).status, 200);
}

#[test]
fn what_is_wrong_with_a_request_is_an_error_object() {
    let mock = mock();
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank"] {
        let body = json!({
            "model": "none", "messages": [], "prompt": "", "input": "a", "query": "", "documents": ["a"],
        });
        let unknown = mock.post(path, &body);
        assert_eq!((unknown.status, &unknown.error()["param"]), (404, &json!("model")), "{path}");
        assert_eq!(unknown.error()["code"], "model_not_found");
        for bad in ["", "{", "[]", r#"{"model": 1}"#, r#"{"messages": []}"#] {
            let refused = post(&mock.url(path), bad);
            assert_eq!(refused.status, 400, "{path} {bad}: {refused:?}");
            assert_eq!(refused.error()["type"], "invalid_request_error");
        }
    }
    assert_eq!(get(&mock.url("/v1/nothing")).error()["code"], "unknown_url");
    assert_eq!(get(&mock.url("/v1/rerank")).error()["code"], "method_not_allowed");
    let counts = mock.counts();
    assert_eq!((counts.requests_total, counts.failed), (24, 24));
}

#[test]
fn array_in_place_of_an_object_is_400() {
    let mock = mock();
    for (path, body) in [
        ("/v1/chat/completions", json!(["mock", []])),
        ("/v1/chat/completions", chat(&json!({ "stream": true, "stream_options": [true] }))),
        ("/v1/chat/completions", chat(&json!({ "tools": [[{ "name": "f" }]] }))),
        ("/v1/chat/completions", chat(&json!({ "tools": [{ "function": ["f"] }] }))),
        ("/v1/completions", json!(["mock", "a"])),
        ("/v1/embeddings", json!(["mock", "a"])),
        ("/v1/rerank", json!(["mock", "a", ["b"]])),
        ("/v1/rerank", json!({ "model": "mock", "query": "a", "documents": [["b"]] })),
    ] {
        let refused = mock.post(path, &body);
        assert_eq!(refused.status, 400, "{path} {body}: {refused:?}");
        refused.error();
    }
    assert_eq!(mock.patch(&json!(["mock"])).status, 400);
}

#[test]
fn an_answer_has_the_requests_id() {
    let mock = mock();
    let request = agent().post(mock.url("/v1/chat/completions")).header("x-request-id", "mine");
    let answer = answer(request.send(&chat(&json!({})).to_string()).expect("an answer"));
    assert_eq!(answer.header("x-request-id"), "mine");
}
