//! Providers as `docs/server/providers.md` configures them, played in the forms in which they answer.

mod played;

use std::collections::BTreeSet;

use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use self::played::{PLAYED, Played};
use crate::{
    scripted::Scripted,
    support::{Server, agent, answer, get, post, wait},
};

const PAGE: &str = include_str!("../../../docs/server/providers.md");

/// Sections of the page with a configuration: title and TOML.
fn documented() -> Vec<(&'static str, &'static str)> {
    let sections = PAGE.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (title, rest) = section.split_once('\n').expect("a title");
            let (_, rest) = rest.split_once("```toml\n").expect("a configuration");
            (title, rest.split_once("```").expect("its end").0)
        })
        .collect()
}

fn of(title: &str) -> &'static Played {
    PLAYED.iter().find(|played| played.title == title).unwrap_or_else(|| panic!("no {title}"))
}

/// The provider, at an address of its own.
fn play(played: &'static Played) -> Scripted {
    Scripted::answering(move |head, body| {
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        let json_type = [("content-type", "application/json")];
        if path == played.models_path {
            return (json_type, played.models).into_response();
        }
        if path.starts_with("/health") {
            return http::StatusCode::OK.into_response();
        }
        if path != played.path {
            return http::StatusCode::NOT_FOUND.into_response();
        }
        if request["model"] == "refused" || request["messages"][0]["content"] == "refuse" {
            let status = http::StatusCode::from_u16(played.error_status).expect("a status");
            return (status, json_type, played.error).into_response();
        }
        if request["stream"] == true {
            return ([("content-type", "text/event-stream")], played.stream).into_response();
        }
        (json_type, played.whole).into_response()
    })
}

/// A gateway with the section's configuration, in which the host is that of the played provider.
fn gateway(toml: &str, provider: &Scripted) -> Server {
    let host = |line: &str| match line.strip_prefix("url = \"") {
        Some(url) => {
            let (_, rest) = url.split_once("://").expect("a scheme");
            let path = rest.find('/').map_or("\"", |slash| &rest[slash..]);
            format!("url = \"http://{}{path}", provider.address)
        }
        None => line.to_owned(),
    };
    let lines = toml.lines().map(host).collect::<Vec<_>>().join("\n");
    let names = toml.lines().filter_map(|line| line.strip_prefix("key_env = "));
    let variables: Vec<_> = names.map(|name| (name.trim_matches('"'), "provider-key")).collect();
    Server::configured("127.0.0.1:0", &lines, &variables)
}

#[test]
fn page_and_tests_name_the_same_providers() {
    let documented: BTreeSet<_> = documented().into_iter().map(|(title, _)| title).collect();
    let played: BTreeSet<_> = PLAYED.iter().map(|played| played.title).collect();
    assert_eq!(documented, played);
}

#[test]
fn answers_of_each_provider_are_passed_on() {
    for (title, toml) in documented() {
        let played = of(title);
        let provider = play(played);
        let server = gateway(toml, &provider);
        wait("its models are known", || {
            let body = json!({ "model": played.model, "messages": [], "input": "a" });
            post(&server.api(played.endpoint), &body.to_string()).status == 200
        });
        let ask = |content: &str, stream: bool| {
            let body = json!({
                "model": played.model,
                "stream": stream,
                "input": content,
                "messages": [{ "role": "user", "content": content }],
            });
            post(&server.api(played.endpoint), &body.to_string())
        };
        let whole = ask("hello", false);
        assert_eq!((whole.status, &*whole.text), (200, played.whole), "{title}");
        if !played.stream.is_empty() {
            let stream = ask("hello", true);
            assert_eq!(stream.status, 200, "{title}: {}", stream.text);
            assert_eq!(stream.text, played.passed(), "{title}");
        }
        let path = played.path.split('?').next().expect("a path");
        let had = provider.had(path).pop().expect("a request");
        let (name, value) = played.key;
        assert_eq!(had.header(name), value, "{title}");
        let refused = ask("refuse", false);
        assert_eq!(
            (refused.status, &*refused.text),
            (played.error_status, played.error),
            "{title}"
        );
        let metrics = get(&server.diagnostics("/metrics")).text;
        let model = format!("gen_ai_request_model=\"{}\"", played.route);
        let tokens = metrics.lines().find(|line| {
            line.starts_with("gen_ai_client_token_usage_sum")
                && line.contains(&model)
                && line.contains("gen_ai_token_type=\"input\"")
        });
        let is_counted = tokens.is_some_and(|line| !line.ends_with(" 0"));
        // Estimates are none of the metric's.
        assert_eq!(is_counted, played.whole.contains("_tokens\""), "{title}: {tokens:?}");
        let log = server.log();
        assert!(
            !log.contains("provider-key") && !log.contains("unexpected answer"),
            "{title}: {log}"
        );
        let listed =
            answer(agent().get(server.api("/v1/models")).call().expect("an answer")).json();
        let listed = listed["data"].as_array().expect("a list").iter();
        let listed: Vec<_> = listed.map(|model| model["id"].as_str().expect("text")).collect();
        assert!(played.listed.iter().all(|model| listed.contains(model)), "{title}: {listed:?}");
    }
}
