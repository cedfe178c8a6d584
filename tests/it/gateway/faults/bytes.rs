//! What passes is not changed: neither requests nor answers, wherever they are cut into pieces.

use serde_json::{Value, json};

use crate::{
    gateway::support::{CHAT, Mock, Setup, ask, ask_with, gateway, stream, whole},
    support::get,
};

/// A chat as nobody would write it, with all that must not be touched.
const CHAT_TEXT: &str = r#"{ "unknown" : [1.0, 1e3, 12345678901234567890, "\u00e4"],
 "model":"mock" ,"messages":[{"role":"user","content":[
  {"type":"text","text":"größer 東京 \uD83D\uDD25 \"model\":\"mock\""},
  {"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}],
 "tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}],
 "tool_choice":"auto" }"#;

/// An answer without its id and time, which differ each time.
fn same(text: &str) -> String {
    let first = text.strip_prefix("data: ").unwrap_or(text);
    let first = first.split("\n\n").next().expect("an event");
    let first: Value = serde_json::from_str(first).expect("JSON");
    let id = first["id"].as_str().expect("an id");
    text.replace(id, "ID").replace(&format!(r#""created":{}"#, first["created"]), "CREATED")
}

#[test]
fn answers_pass_byte_for_byte_in_pieces_of_any_size() {
    let mock = Mock::start(&["--tokens=20"]);
    let server = gateway(&[&mock], "");
    for body in [whole(), stream()] {
        let expected = same(&mock.post(CHAT, &body).text);
        assert!(expected.contains("👩‍🚀"), "{expected}");
        for piece in 0..=7 {
            mock.change(&json!({ "piece": piece }));
            let reply = ask(&server, &body);
            assert_eq!(same(std::str::from_utf8(&reply.body).expect("UTF-8")), expected, "{piece}");
        }
    }
    let counts = mock.counts();
    assert_eq!((counts.requests_total, counts.answered), (18, 18));
}

#[test]
fn requests_pass_byte_for_byte_but_for_the_models_name() {
    let mock = Mock::start(&["--record", "--models=mock,org/other"]);
    let server = Setup { model: r#"rename = "org/other""#, ..Setup::of(&[&mock]) }.start();
    let secrets = [("authorization", "Bearer mine"), ("cookie", "session=1"), ("x-trace", "1")];
    let reply = ask_with(&server, &secrets, CHAT_TEXT);
    assert_eq!(reply.status, 200, "{reply:?}");
    let last = get(&mock.url("/mock/last")).json();
    let expected = CHAT_TEXT.replacen(r#""model":"mock" "#, r#""model":"org/other" "#, 1);
    assert_eq!(last["body"], *expected);
    assert_eq!((&last["method"], &last["uri"]), (&json!("POST"), &json!(CHAT)));
    for name in ["authorization", "cookie", "x-trace"] {
        assert_eq!(header(&last, name), None, "{last}");
    }
    assert_eq!(header(&last, "x-request-id"), Some(reply.header("x-request-id")));
}

#[test]
fn an_upstream_gets_its_key_and_the_clients_only_where_that_is_wanted() {
    let mock = Mock::start(&["--record"]);
    for (each, expected) in [
        ("", None),
        (r#"key = "sk-upstream""#, Some("Bearer sk-upstream")),
        ("forward_authorization = true", Some("Bearer mine")),
        ("forward_authorization = true\nkey = \"sk-upstream\"", Some("Bearer sk-upstream")),
    ] {
        let server = Setup { each, ..Setup::of(&[&mock]) }.start();
        let reply = ask_with(&server, &[("authorization", "Bearer mine")], CHAT_TEXT);
        assert_eq!(reply.status, 200, "{reply:?}");
        let last = get(&mock.url("/mock/last")).json();
        assert_eq!(header(&last, "authorization"), expected, "{each}");
    }
}

/// A header of the newest request.
fn header<'a>(last: &'a Value, name: &str) -> Option<&'a str> {
    let headers = last["headers"].as_array().expect("headers");
    headers.iter().find(|header| header[0] == name)?[1].as_str()
}
