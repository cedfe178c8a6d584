//! Token ids, and inputs that are longer than the model reads.

use serde_json::{Value, json};

use crate::support::{Answer, MODEL, Server};

/// Ids of "This is an example sentence" without special ones.
const IDS: [u32; 5] = [2023, 2003, 2019, 2742, 6251];

/// A server that keeps vectors, with more lines about its model.
fn server(model: &str) -> Server {
    let toml = format!(
        "[models.{MODEL}]\ndir = \"models/{MODEL}\"\n{model}\n[cache]\nvectors = \"64MiB\"\n"
    );
    Server::configured("127.0.0.1:0", &toml, &[])
}

fn embed(server: &Server, input: &Value) -> Answer {
    server.embed(&json!({ "model": MODEL, "input": input }))
}

fn embed_whole(server: &Server, input: &Value) -> Answer {
    server.embed(&json!({ "model": MODEL, "input": input, "truncate": false }))
}

/// Message of a 400 about the input.
fn refused(answer: &Answer) -> String {
    let error = answer.error();
    assert_eq!((answer.status, &error["param"]), (400, &json!("input")), "{answer:?}");
    error["message"].as_str().expect("text").to_owned()
}

/// A text of so many tokens, special ones included.
fn of_tokens(count: usize) -> String {
    vec!["word"; count - 2].join(" ")
}

#[test]
fn token_ids_are_refused_by_default() {
    let server = server("");
    // LangChain sends "tiktoken is great!" so: the ids of OpenAI's tokenizer are in the vocabulary too.
    for input in [json!([83, 1609, 5963, 374, 2294, 0]), json!([[83, 1609, 5963, 374, 2294, 0]])] {
        let message = refused(&embed(&server, &input));
        for said in ["input 0", "check_embedding_ctx_length=False", "accept_token_ids"] {
            assert!(message.contains(said), "{message}");
        }
    }
    let message = refused(&embed(&server, &json!(["text", [7592]])));
    assert!(message.contains("input 1"), "{message}");
}

#[test]
fn special_ids_are_not_added_twice() {
    let server = server("accept_token_ids = true");
    let text = embed(&server, &json!("This is an example sentence")).json();
    let with_special = [&[101][..], &IDS, &[102]].concat();
    for ids in [&IDS[..], &with_special] {
        let answer = embed(&server, &json!(ids)).json();
        assert_eq!(answer["usage"]["prompt_tokens"], 7);
        assert_eq!(answer["data"][0]["embedding"], text["data"][0]["embedding"], "{ids:?}");
    }
    // A special id on one side only is part of the input.
    assert_eq!(embed(&server, &json!([101, 7592])).json()["usage"]["prompt_tokens"], 4);
}

#[test]
fn an_id_out_of_the_vocabulary_is_named_with_its_place() {
    let server = server("accept_token_ids = true");
    assert_eq!(embed(&server, &json!([[7592], [30521]])).status, 200);
    // The first two are in the cache: the place is that in the request, not in what is left of it.
    let message = refused(&embed(&server, &json!([[7592], [30521], [2088, 7592, 100_257]])));
    for said in
        ["input 2: token id 100257 at position 2", "0 to 30521", "check_embedding_ctx_length"]
    {
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn a_header_counts_truncated_inputs() {
    let server = server("");
    let (whole, long) = (of_tokens(256), of_tokens(257));
    let truncated = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("x-thermograph-truncated").to_owned()
    };
    assert_eq!(truncated(&embed(&server, &json!([whole]))), "");
    // The second time they are in the cache, with others the third.
    for hits in ["1", "3"] {
        let answer = embed(&server, &json!([whole, long, of_tokens(300)]));
        assert_eq!((&*truncated(&answer), answer.header("x-thermograph-cache-hits")), ("2", hits));
        assert_eq!(answer.json()["usage"]["prompt_tokens"], 3 * 256);
    }
    assert_eq!(truncated(&embed(&server, &json!(["new", long]))), "1");
    assert_eq!(server.metric("thermograph_engine_cut_inputs_total"), 2);
}

#[test]
fn truncate_false_refuses_what_is_too_long() {
    let server = server("");
    let (whole, long) = (of_tokens(256), of_tokens(300));
    assert_eq!(embed_whole(&server, &json!([whole, "short"])).status, 200);
    // Neither a vector of the input's beginning nor those of the other inputs are in the way.
    assert_eq!(embed(&server, &json!(long)).header("x-thermograph-truncated"), "1");
    for _ in 0..2 {
        let message = refused(&embed_whole(&server, &json!(["short", whole, long])));
        assert!(message.contains("input 2: 300 tokens are too many: at most 256"), "{message}");
    }
    let message = refused(&embed_whole(&server, &json!(of_tokens(40_000))));
    assert!(message.contains("input 0: at least "), "{message}");
    for truncate in [json!(true), Value::Null] {
        let body = json!({ "model": MODEL, "input": long, "truncate": truncate });
        assert_eq!(server.embed(&body).header("x-thermograph-truncated"), "1");
    }
    let answer = server.embed(&json!({ "model": MODEL, "input": "a", "truncate": "END" }));
    assert_eq!((answer.status, &answer.error()["param"]), (400, &json!("truncate")));
}

#[test]
fn vectors_of_two_precisions_are_kept_apart() {
    let model = |precision: &str| {
        format!("[models.{precision}]\ndir = \"models/{MODEL}\"\nprecision = \"{precision}\"\n")
    };
    let toml = format!("{}{}[cache]\nvectors = \"64MiB\"\n", model("int8"), model("f32"));
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    let embed = |model: &str| server.embed(&json!({ "model": model, "input": "a sentence" }));
    let [int8, f32] = ["int8", "f32"].map(embed);
    for answer in [&int8, &f32] {
        assert_eq!(answer.header("x-cache"), "miss", "{answer:?}");
    }
    assert_ne!(int8.json()["data"], f32.json()["data"]);
    for (model, first) in [("int8", int8), ("f32", f32)] {
        let again = embed(model);
        assert_eq!(again.header("x-cache"), "hit");
        assert_eq!(again.json()["data"], first.json()["data"]);
    }
}
