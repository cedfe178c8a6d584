//! Vectors are kept for each input, whatever batch it comes in.

use serde_json::{Value, json};

use super::{ask, from, keeping};
use crate::{
    gateway::support::{Mock, Reply},
    support::{MODEL, Server, get},
};

const EMBEDDINGS: &str = "/v1/embeddings";

fn embed(server: &Server, model: &str, input: &Value, more: &Value) -> Reply {
    let mut body = json!({ "model": model, "input": input });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    ask(server, EMBEDDINGS, &[], &body)
}

fn hits(reply: &Reply) -> &str {
    reply.header("x-thermograph-cache-hits")
}

#[test]
fn of_a_batch_only_what_is_new_is_computed() {
    let mock = Mock::start(&[]);
    let server = keeping(&[&mock], "");
    let none = json!({});
    let inputs = || server.metric("thermograph_engine_inputs_total");
    let first = embed(&server, MODEL, &json!(["one", "two"]), &none);
    assert_eq!((from(&first), hits(&first), inputs()), ("miss", "0", 2));
    let second = embed(&server, MODEL, &json!(["two", "three", "one", "three"]), &none);
    assert_eq!((from(&second), hits(&second), inputs()), ("miss", "3", 3));
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["data"][0]["embedding"], second["data"][2]["embedding"]);
    assert_eq!(first["data"][1]["embedding"], second["data"][0]["embedding"]);
    assert_eq!(second["data"][1]["embedding"], second["data"][3]["embedding"]);
    assert_eq!(second["data"][3]["index"], 3);
    // As many tokens as if nothing had been kept.
    let skipped = ask(
        &server,
        EMBEDDINGS,
        &[("cache-control", "no-store")],
        &json!({ "model": MODEL, "input": ["two", "three", "one", "three"] }),
    );
    assert_eq!((from(&skipped), hits(&skipped)), ("", ""));
    assert_eq!(skipped.json()["usage"], second["usage"]);
    assert_eq!(inputs(), 7);
    let only = [("cache-control", "only-if-cached")];
    let body = json!({ "model": MODEL, "input": ["one", "never"] });
    assert_eq!(ask(&server, EMBEDDINGS, &only, &body).status, 504);
    // Another form of what is kept.
    let short = embed(&server, MODEL, &json!("one"), &json!({ "dimensions": 8 }));
    assert_eq!((from(&short), hits(&short)), ("hit", "1"));
    assert_eq!(short.json()["data"][0]["embedding"].as_array().expect("numbers").len(), 8);
    let base64 = embed(&server, MODEL, &json!("one"), &json!({ "encoding_format": "base64" }));
    assert_eq!(from(&base64), "hit");
    assert!(base64.json()["data"][0]["embedding"].is_string());
}

#[test]
fn an_upstream_is_asked_for_what_is_new() {
    let mock = Mock::start(&["--record"]);
    let server = keeping(&[&mock], "");
    let none = json!({});
    let asked = || get(&mock.url("/mock/last")).json()["body"].to_string();
    let first = embed(&server, "mock", &json!(["one", "two"]), &none);
    assert_eq!((from(&first), hits(&first)), ("miss", "0"));
    let second = embed(&server, "mock", &json!(["two", "new", "one"]), &none);
    assert_eq!((from(&second), hits(&second)), ("miss", "2"));
    let last = asked();
    assert!(last.contains("new") && !last.contains("one"), "{last}");
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["data"][0]["embedding"], second["data"][2]["embedding"]);
    assert_eq!(first["data"][1]["embedding"], second["data"][0]["embedding"]);
    assert_eq!(second["model"], "mock");
    let third =
        embed(&server, "mock", &json!(["new", "two"]), &json!({ "encoding_format": "base64" }));
    assert_eq!((from(&third), hits(&third)), ("hit", "2"));
    assert!(third.json()["data"][0]["embedding"].is_string());
    let shorter = embed(&server, "mock", &json!("new"), &json!({ "dimensions": 8 }));
    assert_eq!(from(&shorter), "miss");
    assert_eq!(mock.counts().requests_total, 3);
}

#[test]
fn what_an_upstream_refuses_is_refused() {
    let mock = Mock::start(&["--error-rate=1", "--error-status=429", "--retry-after=1"]);
    let server = keeping(&[&mock], "[gateway]\nretries = 0");
    let refused = embed(&server, "mock", &json!("one"), &json!({}));
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    refused.error();
    mock.change(&json!({ "error_rate": 0 }));
    assert_eq!(from(&embed(&server, "mock", &json!("one"), &json!({}))), "miss");
}
