//! `GET /v1/usage` says what was asked.

use serde_json::{Value, json};

use super::support::{Mock, Store, ask, get};
use crate::{
    gateway::support::{stream, whole},
    support::{agent, answer, wait},
};

#[test]
fn what_was_asked_is_told_in_json_and_in_csv() {
    let (store, mock) = (Store::sqlite(), Mock::start(&["--tokens=7"]));
    let server = store.gateway(&mock, "");
    let (id, key) = store.create(&[]);
    let (_, another) = store.create(&[]);
    let (_, all) = store.create(&["--scope=usage"]);
    let (mut prompt, mut completion) = (0, 0);
    for _ in 0..3 {
        let usage = ask(&server, &key, &whole()).json()["usage"].take();
        prompt += usage["prompt_tokens"].as_i64().expect("a number");
        completion += usage["completion_tokens"].as_i64().expect("a number");
    }
    let mut streamed = stream();
    streamed["stream_options"] = json!({ "include_usage": true });
    assert_eq!(ask(&server, &key, &streamed).status, 200);
    prompt += prompt / 3;
    completion += completion / 3;
    let mut unknown = whole();
    unknown["model"] = json!("=no, such \"model\"");
    assert_eq!(ask(&server, &key, &unknown).status, 404);
    assert_eq!(ask(&server, &another, &whole()).status, 200);

    let sums = |requests: i64, errors: i64, prompt: i64, completion: i64| {
        json!({ "requests": requests, "errors": errors, "cached": 0,
                "prompt_tokens": prompt, "cached_prompt_tokens": 0,
                "completion_tokens": completion, "estimated": 0 })
    };
    wait("the rows are written", || store.rows() == 6);
    let told = get(&server, &key, "/v1/usage").json();
    assert_eq!(told["totals"], sums(5, 1, prompt, completion), "{told}");
    let data = told["data"].as_array().expect("a list");
    assert_eq!(data.len(), 2, "{told}");
    assert_eq!((&data[0]["model"], &data[0]["errors"]), (&unknown["model"], &json!(1)));
    assert_eq!((&data[1]["model"], &data[1]["requests"]), (&json!("mock"), &json!(4)));

    let day = data[0]["day"].as_str().expect("a day");
    let csv = get(&server, &key, &format!("/v1/usage?start={day}&end={day}&format=csv"));
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let expected = format!(
        "day,model,requests,errors,cached,prompt_tokens,completion_tokens,cached_prompt_tokens,\
         estimated\r\n\
         {day},\"'=no, such \"\"model\"\"\",1,1,0,0,0,0,0\r\n\
         {day},mock,4,0,0,{prompt},{completion},0,0\r\n"
    );
    assert_eq!(csv.text, expected);
    let accepted = agent().get(server.api("/v1/usage")).header("accept", "text/csv");
    let accepted = accepted.header("authorization", format!("Bearer {key}")).call();
    assert_eq!(answer(accepted.expect("an answer")).text, expected);

    let of = |query: &str| get(&server, &all, query).json()["totals"]["requests"].take();
    assert_eq!(of("/v1/usage"), Value::from(0));
    assert_eq!(of("/v1/usage?key=all"), Value::from(6));
    assert_eq!(of(&format!("/v1/usage?key={id}")), Value::from(5));
    assert_eq!(of("/v1/usage?key=all&start=2020-01-01&end=2020-01-31"), Value::from(0));
}

#[test]
fn a_bad_parameter_is_named_with_what_is_allowed() {
    let (store, mock) = (Store::sqlite(), Mock::start(&[]));
    let server = store.gateway(&mock, "");
    let (_, key) = store.create(&["--scope=usage"]);
    for (query, said) in [
        ("start=soon", "start: `soon` is not allowed: a date such as 2026-11-26"),
        ("end=10000-01-01", "end: `10000-01-01` is not allowed"),
        ("start=2020-01-01&end=2026-01-01", "1 to 366 days"),
        ("format=xml", "format: `xml` is not allowed: json or csv"),
        ("key=tg-something", "key: `(hidden)` is not allowed"),
        ("no-such=1", "allowed are start, end, format and key"),
    ] {
        let refused = get(&server, &key, &format!("/v1/usage?{query}"));
        assert_eq!(refused.status, 400, "{query}");
        let error = refused.error();
        assert!(error["message"].as_str().expect("text").contains(said), "{error}");
    }
}
