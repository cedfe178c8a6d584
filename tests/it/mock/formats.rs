//! Choices, log probabilities and answers that are JSON.

use serde_json::{Value, json};

use super::answers::{TEXT, chat, events, joined, mock, with};

const CHAT: &str = "/v1/chat/completions";
const TEXTS: &str = "/v1/completions";

#[test]
fn several_choices_are_answered_and_counted() {
    let mock = mock();
    let text = json!({ "model": "mock", "prompt": "four" });
    for (path, body, place) in [
        (CHAT, chat(&json!({ "n": 3 })), "/message/content"),
        (TEXTS, with(text, &json!({ "n": 3 })), "/text"),
    ] {
        let json = mock.post(path, &body).json();
        let choices = json["choices"].as_array().expect("choices");
        assert_eq!(choices.len(), 3);
        for (index, choice) in choices.iter().enumerate() {
            assert_eq!(choice["index"], index);
            assert_eq!(choice.pointer(place), Some(&json!(TEXT)));
        }
        assert_eq!(json["usage"]["completion_tokens"], 18);

        let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
        let mut events = events(&mock.post(path, &with(body, &more)));
        assert_eq!(events.pop().expect("usage")["usage"]["completion_tokens"], 18);
        for index in 0..3 {
            let mut own = events.clone();
            own.retain(|event| event["choices"][0]["index"] == index);
            let said = [joined(&own, "/choices/0/delta/content"), joined(&own, "/choices/0/text")];
            assert_eq!(said.concat(), TEXT);
            assert_eq!(joined(&own, "/choices/0/finish_reason"), "stop");
        }
    }
    for bad in [0, 129] {
        let refused = mock.post(CHAT, &chat(&json!({ "n": bad })));
        assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("n")));
    }
}

#[test]
fn tool_calls_of_several_choices_have_ids_of_their_own() {
    let tool = json!({ "type": "function", "function": { "name": "look_up" } });
    let json = mock().post(CHAT, &chat(&json!({ "n": 2, "tools": [tool] }))).json();
    let id = |index: usize| json["choices"][index]["message"]["tool_calls"][0]["id"].clone();
    assert!(id(0).is_string() && id(1).is_string() && id(0) != id(1), "{json}");
}

#[test]
fn chat_has_log_probabilities_of_each_token() {
    let mock = mock();
    let asked = chat(&json!({ "logprobs": true, "top_logprobs": 2 }));
    let json = mock.post(CHAT, &asked).json();
    let whole = json["choices"][0]["logprobs"]["content"].as_array().expect("a list");
    assert_eq!(whole.len(), 6);
    let mut text = Vec::new();
    for entry in whole {
        assert!(entry["logprob"].as_f64().expect("a number") < 0.0);
        let bytes: Vec<u8> = serde_json::from_value(entry["bytes"].clone()).expect("bytes");
        text.extend_from_slice(&bytes);
        let top = entry["top_logprobs"].as_array().expect("a list");
        assert_eq!((top.len(), &top[0]["token"]), (2, &entry["token"]));
    }
    assert_eq!(String::from_utf8(text).as_deref(), Ok(TEXT));

    let events = events(&mock.post(CHAT, &with(asked, &json!({ "stream": true }))));
    let of_events = |event: &Value| event["choices"][0]["logprobs"]["content"].as_array().cloned();
    let streamed: Vec<_> = events.iter().filter_map(of_events).flatten().collect();
    assert_eq!(&streamed, whole);
    for bad in [json!({ "top_logprobs": 1 }), json!({ "logprobs": true, "top_logprobs": 21 })] {
        let refused = mock.post(CHAT, &chat(&bad));
        assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("top_logprobs")));
    }
}

#[test]
fn text_completion_has_log_probabilities_of_each_token() {
    let mock = mock();
    let asked = json!({ "model": "mock", "prompt": "four", "logprobs": 2 });
    let logprobs = mock.post(TEXTS, &asked).json()["choices"][0]["logprobs"].take();
    let tokens: Vec<String> = serde_json::from_value(logprobs["tokens"].clone()).expect("texts");
    assert_eq!(tokens.concat(), TEXT);
    assert_eq!(logprobs["token_logprobs"].as_array().map(Vec::len), Some(6));
    assert_eq!(logprobs["top_logprobs"][5].as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(logprobs["text_offset"][1], tokens[0].chars().count());
    let events = events(&mock.post(TEXTS, &with(asked.clone(), &json!({ "stream": true }))));
    let offset = |event: &Value| event["choices"][0]["logprobs"]["text_offset"][0].clone();
    assert_eq!(events[..6].iter().map(offset).collect::<Value>(), logprobs["text_offset"]);
    assert_eq!(mock.post(TEXTS, &with(asked, &json!({ "logprobs": 6 }))).status, 400);
}

#[test]
fn answer_is_json_where_that_is_asked_for() {
    let mock = mock();
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["city", "degrees"],
        "properties": {
            "city": { "type": "string", "enum": ["Zürich", "東京"] },
            "degrees": { "type": "array", "items": { "type": "integer", "minimum": 20 } },
        },
    });
    let named = json!({ "name": "weather", "strict": true, "schema": schema });
    for (format, content) in [
        (json!({ "type": "text" }), None),
        (json!({ "type": "json_object" }), Some(json!({ "text": TEXT }))),
        (
            json!({ "type": "json_schema", "json_schema": named }),
            Some(json!({ "city": "Zürich", "degrees": [20] })),
        ),
    ] {
        let asked = chat(&json!({ "response_format": format }));
        let json = mock.post(CHAT, &asked).json();
        let text = json["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
        match content {
            None => assert_eq!(text, TEXT),
            Some(content) => {
                assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), content);
                let tokens = json["usage"]["completion_tokens"].as_u64().expect("a number");
                assert!((text.len() as u64 / 6..=text.len() as u64 / 2).contains(&tokens));
            }
        }
        let events = events(&mock.post(CHAT, &with(asked, &json!({ "stream": true }))));
        assert_eq!(joined(&events, "/choices/0/delta/content"), text);
    }
}

#[test]
fn schema_that_is_not_supported_is_400() {
    let mock = mock();
    for (schema, message) in [
        (
            json!({ "type": "string", "pattern": "a" }),
            "schema: the keyword `pattern` is not supported",
        ),
        (json!({ "$ref": "#/$defs/none" }), "schema: `$ref`: `\"#/$defs/none\"` is not supported"),
    ] {
        let format = json!({ "type": "json_schema", "json_schema": { "schema": schema } });
        let refused = mock.post(CHAT, &chat(&json!({ "response_format": format })));
        assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("response_format")));
        let found = refused.error()["message"].to_string();
        assert!(found.contains(&message.replace('"', "\\\"")), "{found}");
    }
    let unknown = json!({ "response_format": { "type": "xml" } });
    assert_eq!(mock.post(CHAT, &chat(&unknown)).status, 400);
}
