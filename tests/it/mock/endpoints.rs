//! Responses, messages, audio, images and moderation.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::answers::{TEXT, mock, with};
use crate::support::{Answer, agent, answer, mock::Mock};

/// The events of a stream that have names, which are their types.
fn named(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
    let event = |event: &str| {
        let (name, data) = event.split_once("\ndata: ").expect("an event");
        let json: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(name.strip_prefix("event: "), json["type"].as_str());
        json
    };
    answer.text.split_terminator("\n\n").map(event).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    let mut types: Vec<_> =
        events.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    types.dedup();
    types
}

fn deltas(events: &[Value], place: &str) -> String {
    events.iter().filter_map(|event| event.pointer(place)?.as_str()).collect()
}

/// Sends a form with a file and fields.
fn form(mock: &Mock, path: &str, fields: &[(&str, &str)]) -> Answer {
    let part = |(name, value): &(&str, &str)| {
        format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = fields.iter().map(part).collect::<String>() + "--x--\r\n";
    let request = agent().post(mock.url(path)).content_type("multipart/form-data; boundary=x");
    answer(request.send(&body).expect("an answer"))
}

#[test]
fn response_is_answered_whole_and_streamed() {
    let mock = mock();
    let asked = json!({ "model": "mock", "input": "twelve bytes", "instructions": "four" });
    let whole = mock.post("/v1/responses", &asked).json();
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("completed")));
    let part = json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": TEXT });
    assert_eq!(whole["output"][0]["content"], json!([part]));
    let usage = json!({
        "input_tokens": 4, "input_tokens_details": { "cached_tokens": 0 }, "output_tokens": 6,
        "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 10,
    });
    assert_eq!(whole["usage"], usage);

    let events = named(&mock.post("/v1/responses", &with(asked, &json!({ "stream": true }))));
    let wanted = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(types(&events), wanted);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], index);
    }
    assert_eq!(deltas(&events, "/delta"), TEXT);
    let last = &events.last().expect("events")["response"];
    assert_eq!((&last["usage"], &last["id"]), (&usage, &events[0]["response"]["id"]));
}

#[test]
fn response_is_json_where_that_is_asked_for() {
    let format = json!({ "type": "json_schema", "name": "n", "schema": { "type": "boolean" } });
    let asked = json!({ "model": "mock", "input": "a", "text": { "format": format } });
    let json = mock().post("/v1/responses", &asked).json();
    assert_eq!(json["output"][0]["content"][0]["text"], "true");
}

#[test]
fn message_is_answered_whole_and_streamed() {
    let mock = mock();
    let messages = json!([{ "role": "user", "content": "twelve bytes" }]);
    let asked = json!({ "model": "mock", "max_tokens": 9, "system": "four", "messages": messages });
    let whole = mock.post("/v1/messages", &asked).json();
    assert_eq!((&whole["type"], &whole["stop_reason"]), (&json!("message"), &json!("end_turn")));
    assert_eq!(whole["content"], json!([{ "type": "text", "text": TEXT }]));
    assert_eq!(
        (&whole["usage"]["input_tokens"], &whole["usage"]["output_tokens"]),
        (&json!(5), &json!(6))
    );
    let counted = mock.post("/v1/messages/count_tokens", &asked).json();
    assert_eq!(counted, json!({ "input_tokens": 5 }));

    let events =
        named(&mock.post("/v1/messages", &with(asked.clone(), &json!({ "stream": true }))));
    let wanted = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(types(&events), wanted);
    assert_eq!(deltas(&events, "/delta/text"), TEXT);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 5);
    assert_eq!(events[events.len() - 2]["usage"]["output_tokens"], 6);

    for (bad, status, kind) in [
        (json!({ "max_tokens": null }), 400, "invalid_request_error"),
        (json!({ "model": "none" }), 404, "not_found_error"),
    ] {
        let refused = mock.post("/v1/messages", &with(asked.clone(), &bad));
        assert_eq!(refused.status, status);
        let json = refused.json();
        assert_eq!((&json["type"], &json["error"]["type"]), (&json!("error"), &json!(kind)));
    }
}

#[test]
fn stream_of_each_kind_is_cut_and_stalls_as_told() {
    let mock = Mock::start(&["--tokens=6", "--cut-rate=1", "--cut-after=2"]);
    let messages = json!([{ "role": "user", "content": "a" }]);
    for (path, place) in [("/v1/responses", "/delta"), ("/v1/messages", "/delta/text")] {
        let body = json!({
            "model": "mock", "stream": true, "input": "a", "messages": messages, "max_tokens": 9,
        });
        let mut exchange = mock.exchange(path, &body);
        exchange.head();
        let (chunks, is_whole) = exchange.chunks();
        let text = String::from_utf8(chunks.concat()).expect("UTF-8");
        let said: String = text
            .split("data: ")
            .filter_map(|data| serde_json::from_str::<Value>(data.split('\n').next()?).ok())
            .filter_map(|json| json.pointer(place)?.as_str().map(String::from))
            .collect();
        assert_eq!((said.as_str(), is_whole), ("Wärme flows", false), "{path}");
    }
    assert_eq!(mock.counts().cut, 2);
}

#[test]
fn audio_is_transcribed_in_each_format() {
    let mock = mock();
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
        let ask = |fields: &[(&str, &str)]| {
            form(&mock, path, &[&[("model", "mock"), ("file", "sound")], fields].concat())
        };
        let json = ask(&[]).json();
        assert_eq!((&json["text"], &json["usage"]["output_tokens"]), (&json!(TEXT), &json!(6)));
        let verbose = ask(&[("response_format", "verbose_json")]).json();
        assert_eq!(
            (&verbose["segments"][0]["text"], &verbose["duration"]),
            (&json!(TEXT), &json!(1.0))
        );
        let text = ask(&[("response_format", "text")]);
        assert!(text.header("content-type").starts_with("text/plain"), "{text:?}");
        assert_eq!(text.text, format!("{TEXT}\n"));
        let refused = ask(&[("response_format", "xml")]);
        assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("response_format")));
        assert_eq!(form(&mock, path, &[("model", "mock")]).error()["param"], "file");
        assert_eq!(form(&mock, path, &[("model", "none"), ("file", "a")]).status, 404);
        let refused = mock.post(path, &json!({ "model": "mock" }));
        assert!(refused.error()["message"].to_string().contains("multipart/form-data"));
        let many: Vec<_> = (0..65).map(|_| ("a", "b")).collect();
        assert_eq!(form(&mock, path, &many).status, 400);
    }
}

#[test]
fn speech_is_audio_of_its_format() {
    let mock = mock();
    let ask = |format: &str| {
        let body = json!({
            "model": "mock", "input": "twelve bytes", "voice": "alloy", "response_format": format,
        });
        let request = agent().post(mock.url("/v1/audio/speech")).content_type("application/json");
        let mut response = request.send(&body.to_string()).expect("an answer");
        let media = response.headers()["content-type"].to_str().expect("text").to_owned();
        (media, response.body_mut().read_to_vec().expect("bytes"))
    };
    let (media, wav) = ask("wav");
    assert_eq!(
        (media.as_str(), &wav[..4], &wav[8..16]),
        ("audio/wav", &b"RIFF"[..], &b"WAVEfmt "[..])
    );
    let length = |at: usize| u32::from_le_bytes(wav[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((length(4) as usize, length(40) as usize), (wav.len() - 8, wav.len() - 44));
    for (format, wanted) in [("mp3", "audio/mpeg"), ("pcm", "audio/pcm"), ("flac", "audio/flac")] {
        let (media, body) = ask(format);
        assert!(media == wanted && !body.is_empty());
    }
    let long = json!({ "model": "mock", "input": "a".repeat(4097), "voice": "alloy" });
    assert_eq!(mock.post("/v1/audio/speech", &long).error()["param"], "input");
}

#[test]
fn images_are_pictures() {
    let mock = mock();
    let asked = json!({ "model": "mock", "prompt": "a cat", "n": 2 });
    let json = mock.post("/v1/images/generations", &asked).json();
    assert_eq!(json["data"].as_array().map(Vec::len), Some(2));
    let png = STANDARD.decode(json["data"][0]["b64_json"].as_str().expect("text")).expect("base64");
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.ends_with(b"IEND\xaeB`\x82"), "{png:?}");
    let usage = &json["usage"];
    assert_eq!((&usage["input_tokens"], &usage["total_tokens"]), (&json!(2), &json!(546)));
    for bad in [json!({ "n": 11 }), json!({ "prompt": "" }), json!({ "response_format": "url" })] {
        let refused = mock.post("/v1/images/generations", &with(asked.clone(), &bad));
        assert_eq!(refused.status, 400, "{bad}");
        refused.error();
    }
}

#[test]
fn inputs_are_moderated_each() {
    let mock = mock();
    for (input, results) in [
        (json!("a"), 1),
        (json!(["a", "b"]), 2),
        (json!([{ "type": "text", "text": "a" }, { "type": "image_url", "image_url": {} }]), 1),
    ] {
        let json = mock.post("/v1/moderations", &json!({ "input": input })).json();
        assert_eq!(json["model"], "mock");
        assert_eq!(json["results"].as_array().map(Vec::len), Some(results));
        let result = &json["results"][0];
        assert_eq!(
            (&result["flagged"], &result["categories"]["self-harm/intent"]),
            (&json!(false), &json!(false))
        );
        assert!(result["category_scores"]["violence"].as_f64().expect("a score") < 0.01);
    }
    assert_eq!(mock.post("/v1/moderations", &json!({ "input": [] })).error()["param"], "input");
}

#[test]
fn documents_are_ranked_at_every_path() {
    let mock = mock();
    let body = json!({ "model": "mock", "query": "a", "documents": ["b", "c"] });
    for path in ["/v1/rerank", "/v2/rerank", "/rerank"] {
        let json = mock.post(path, &body).json();
        assert_eq!(json["results"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["meta"]["billed_units"]["search_units"], 1);
    }
}
