//! Names of models: patterns, renames, and the local model beside those of upstreams.

use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use crate::{
    gateway::support::{ask, whole},
    scripted::Scripted,
    support::{Server, agent, answer},
};

/// An upstream that answers with its own name for the model, and names a dated one.
fn upstream() -> Scripted {
    Scripted::answering(|head, body| {
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let model = format!("{}-2026", request["model"].as_str().unwrap_or_default());
        let answer = match head.uri.path() {
            "/v1/embeddings" => {
                let inputs = request["input"].as_array().map_or(1, Vec::len);
                let vector = |index| json!({ "index": index, "embedding": [0.6, 0.8] });
                let vectors: Vec<_> = (0..inputs).map(vector).collect();
                json!({ "object": "list", "model": model, "data": vectors })
            }
            "/v1/models" => json!({ "data": [{ "id": "gpt-4" }, { "id": "listed" }] }),
            _ => json!({ "model": model, "choices": [{ "message": { "content": "a" } }] }),
        };
        axum::Json(answer).into_response()
    })
}

fn gateway(upstream: &Scripted, rest: &str) -> Server {
    let toml = format!("[upstreams.a]\nurl = \"http://{}\"\n{rest}\n", upstream.address);
    Server::configured("127.0.0.1:0", &toml, &[])
}

fn chat(server: &Server, model: &str) -> (u16, Value) {
    let mut body = whole();
    body["model"] = json!(model);
    let reply = ask(server, &body);
    (reply.status, reply.json())
}

#[test]
fn patterns_route_models_by_the_most_literal_one() {
    let upstream = upstream();
    let server = gateway(
        &upstream,
        "[models.\"gpt-*\"]\nupstreams = [\"a\"]\n\
         [models.\"gpt-4-*\"]\nupstreams = [\"a\"]\nrename = \"four/*\"\n\
         [models.\"openai/*\"]\nupstreams = [\"a\"]\nrename = \"*\"\n\
         [models.gpt-exact]\nupstreams = [\"a\"]\nrename = \"exact\"",
    );
    for (model, theirs) in [
        ("gpt-9", "gpt-9-2026"),
        ("gpt-4-mini", "four/mini-2026"),
        ("openai/gpt-9", "gpt-9-2026"),
        ("gpt-exact", "exact-2026"),
    ] {
        let (status, answer) = chat(&server, model);
        assert_eq!((status, answer["model"].as_str()), (200, Some(theirs)), "{model}");
    }
    assert_eq!(chat(&server, "llama").0, 404);
    let one = answer(agent().get(server.api("/v1/models/gpt-9")).call().expect("an answer"));
    assert_eq!((one.status, one.json()["id"].as_str()), (200, Some("gpt-9")));
    let listed = answer(agent().get(server.api("/v1/models")).call().expect("an answer")).json();
    let ids: Vec<_> = listed["data"].as_array().expect("a list").iter().map(|m| &m["id"]).collect();
    assert!(ids.iter().all(|id| !id.as_str().expect("text").contains('*')), "{ids:?}");
}

#[test]
fn pattern_of_anything_is_the_default() {
    let upstream = upstream();
    let rest = "[models.\"*\"]\nupstreams = [\"a\"]\nrename = \"default\"";
    let server = gateway(&upstream, rest);
    assert_eq!(chat(&server, "unheard-of").1["model"], "default-2026");
    crate::support::wait("models are listed", || {
        chat(&server, "listed").1["model"] == "listed-2026"
    });
}

#[test]
fn answers_name_the_model_as_the_upstream_does_kept_or_not() {
    for cache in ["", "[cache]\nvectors = \"1MiB\"\nanswers = \"1MiB\""] {
        let upstream = upstream();
        let rest = format!("{cache}\n[models.x]\nupstreams = [\"a\"]\nrename = \"theirs\"");
        let server = gateway(&upstream, &rest);
        for _ in 0..2 {
            let embedded = server.embed(&json!({ "model": "x", "input": ["a", "b"] }));
            assert_eq!(embedded.json()["model"], "theirs-2026", "{cache} {}", embedded.text);
            assert_eq!(chat(&server, "x").1["model"], "theirs-2026");
        }
        let asked = upstream.had("/v1/embeddings").len();
        assert_eq!(asked, if cache.is_empty() { 2 } else { 1 });
    }
}

#[test]
fn answers_are_kept_for_the_client_whose_headers_the_upstream_was_told() {
    let upstream = upstream();
    let toml = format!(
        "[upstreams.a]\nurl = \"http://{}\"\nforward_headers = [\"x-tenant\"]\n\
         [cache]\nanswers = \"1MiB\"\nvectors = \"1MiB\"\nscope = \"shared\"\n\
         [models.x]\nupstreams = [\"a\"]\n",
        upstream.address
    );
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    let chat = json!({ "model": "x", "temperature": 0, "messages": [] });
    let embeddings = json!({ "model": "x", "input": ["a"] });
    for (path, body) in [("/v1/chat/completions", chat), ("/v1/embeddings", embeddings)] {
        for tenant in ["a", "b", "a", "b"] {
            let request = agent().post(server.api(path)).content_type("application/json");
            let request = request.header("x-tenant", tenant);
            let answered = answer(request.send(body.to_string()).expect("an answer"));
            assert_eq!(answered.status, 200, "{}", answered.text);
        }
        let asked = upstream.had(path);
        let tenants: Vec<_> = asked.iter().map(|had| had.header("x-tenant")).collect();
        assert_eq!(tenants, ["a", "b"], "{path}");
    }
}

#[test]
fn answers_are_kept_for_the_headers_of_the_providers_api() {
    let upstream = upstream();
    let rest = "[cache]\nanswers = \"1MiB\"\nvectors = \"1MiB\"\nscope = \"shared\"\n\
                [models.x]\nupstreams = [\"a\"]\n";
    let server = gateway(&upstream, rest);
    let chat = json!({ "model": "x", "temperature": 0, "messages": [] });
    let embeddings = json!({ "model": "x", "input": ["a"] });
    for (path, body) in [("/v1/chat/completions", chat), ("/v1/embeddings", embeddings)] {
        for name in [
            "openai-organization",
            "openai-project",
            "openai-beta",
            "anthropic-beta",
            "anthropic-version",
        ] {
            for value in ["a", "b", "a", "b"] {
                let request = agent().post(server.api(path)).content_type("application/json");
                let request = request.header(name, value);
                let answered = answer(request.send(body.to_string()).expect("an answer"));
                assert_eq!(answered.status, 200, "{}", answered.text);
            }
            let asked = upstream.had(path);
            let values = asked.iter().map(|had| had.header(name)).filter(|value| !value.is_empty());
            assert_eq!(values.collect::<Vec<_>>(), ["a", "b"], "{path} {name}");
        }
    }
}

#[test]
fn name_of_a_local_model_fits_no_pattern() {
    let upstream = upstream();
    let rest = "[models.local]\ndir = \"/no/such/folder\"\n[models.\"*\"]\nupstreams = [\"a\"]";
    let server = gateway(&upstream, rest);
    let embed = |model| server.embed(&json!({ "model": model, "input": "a" }));
    let one = |model| {
        let path = server.api(&format!("/v1/models/{model}"));
        answer(agent().get(path).call().expect("an answer"))
    };
    for refused in [embed("local"), one("local")] {
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert!(refused.text.contains("/no/such/folder"), "{}", refused.text);
    }
    let (status, refused) = chat(&server, "local");
    assert_eq!(status, 503, "{refused}");
    assert_eq!((embed("other").status, one("other").status), (200, 200));
    assert!(upstream.had("/v1/chat/completions").is_empty());
    let listed = answer(agent().get(server.api("/v1/models")).call().expect("an answer"));
    assert!(!listed.text.contains("\"local\""), "{}", listed.text);
}

#[test]
fn local_model_stays_beside_models_of_upstreams() {
    let upstream = upstream();
    let server = gateway(&upstream, "[models.x]\nupstreams = [\"a\"]");
    let embedded = server.embed(&json!({ "model": "all-MiniLM-L6-v2", "input": "a" }));
    assert_eq!(embedded.status, 200, "{}", embedded.text);
}
