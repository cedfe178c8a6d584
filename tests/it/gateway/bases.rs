//! Base URLs, health checks, headers and keys of upstreams, as their providers document them.

use axum::response::IntoResponse as _;
use serde_json::json;

use crate::{
    gateway::support::{ask, ask_with, whole},
    scripted::Scripted,
    support::{Server, agent, answer, wait},
};

/// An upstream that lists `m` wherever it is asked, and answers chats.
fn upstream() -> Scripted {
    Scripted::answering(|head, _| {
        match head.method {
            http::Method::POST => r#"{"model":"theirs","choices":[{"message":{"content":"a"}}]}"#,
            _ => r#"{"data":[{"id":"m"}]}"#,
        }
        .into_response()
    })
}

/// A gateway with these lines for the upstream `a`; `URL` stands for its address.
fn gateway(upstream: &Scripted, lines: &str, rest: &str) -> Server {
    let lines = lines.replace("URL", &format!("http://{}", upstream.address));
    let toml = format!("[upstreams.a]\n{lines}\n[models.mock]\nupstreams = [\"a\"]\n{rest}\n");
    Server::configured("127.0.0.1:0", &toml, &[])
}

#[test]
fn paths_and_queries_of_bases_are_kept() {
    for (url, path, query) in [
        ("URL", "/v1", None),
        ("URL/", "/v1", None),
        ("URL/v1", "/v1", None),
        ("URL/v1beta/openai/", "/v1beta/openai", None),
        ("URL/api/paas/v4", "/api/paas/v4", None),
        (
            "URL/openai/deployments/d?api-version=2024-10-21",
            "/openai/deployments/d",
            Some("api-version=2024-10-21"),
        ),
    ] {
        let upstream = upstream();
        let server = gateway(&upstream, &format!("url = \"{url}\""), "");
        assert_eq!(ask(&server, &whole()).status, 200, "{url}");
        let chats = upstream.had(&format!("{path}/chat/completions"));
        assert_eq!(chats.len(), 1, "{url}");
        assert_eq!(chats[0].head.uri.query(), query);
        wait("it is asked for its models", || {
            let lists = upstream.had(&format!("{path}/models"));
            lists.iter().any(|list| list.head.uri.query() == query)
        });
    }
    let upstream = upstream();
    let server = gateway(&upstream, "url = \"URL\"\nappend_v1 = false", "");
    assert_eq!(ask(&server, &whole()).status, 200);
    assert_eq!(upstream.had("/chat/completions").len(), 1);
}

#[test]
fn upstream_without_discovery_is_asked_for_nothing() {
    let upstream = upstream();
    let lines = "url = \"URL\"\ndiscover = false\nhealth.interval = \"10ms\"";
    let server = gateway(&upstream, lines, "");
    for _ in 0..20 {
        assert_eq!(ask(&server, &whole()).status, 200);
    }
    assert_eq!(upstream.had("/v1/models").len(), 0);
    assert_eq!(upstream.had("/v1/chat/completions").len(), 20);
}

#[test]
fn health_path_begins_at_the_root_and_a_404_is_logged_once() {
    let upstream = Scripted::answering(|head, _| match head.uri.path() {
        "/health" => "ok".into_response(),
        _ => http::StatusCode::NOT_FOUND.into_response(),
    });
    for (path, is_said) in [("/health", false), ("/healthz", true)] {
        let lines = format!(
            "url = \"URL/api/v1\"\ndiscover = false\nhealth.interval = \"10ms\"\nhealth.path = \"{path}\""
        );
        let server = gateway(&upstream, &lines, "");
        wait("it is checked", || upstream.had(path).len() > 3);
        let told = server.log().matches("unexpected answer to a check").count();
        assert_eq!(told, usize::from(is_said), "{}", server.log());
        assert_eq!(server.metric("thermograph_upstream_healthy{upstream=\"a\"}"), 1);
    }
}

#[test]
fn lists_of_models_are_read_as_far_as_they_can_be() {
    let lists = [
        (r#"{"data":[{"id":"m","created":null,"owned_by":null,"max_model_len":4096}]}"#, 1, false),
        (r#"[{"id":"m","created":1.5e9},"n"]"#, 2, false),
        (r#"{"data":[{"id":"m","created":"soon"},{"id":7},{"id":"n","created":-1}]}"#, 2, true),
        (r#"{"data":null}"#, 0, false),
        (r#"{"models":"none"}"#, 0, true),
    ];
    for (body, count, is_said) in lists {
        let upstream = Scripted::answering(move |_, _| body.into_response());
        let server = gateway(&upstream, "url = \"URL\"\nhealth.interval = \"10ms\"", "");
        wait("it is checked", || upstream.had("/v1/models").len() > 3);
        let listed =
            answer(agent().get(server.api("/v1/models")).call().expect("an answer")).json();
        let models = listed["data"].as_array().expect("a list");
        let theirs: Vec<_> =
            models.iter().filter(|model| model["owned_by"] != "thermograph").collect();
        assert_eq!(theirs.len(), count, "{body}: {listed}");
        assert!(models.iter().all(|model| model["created"].is_u64()), "{listed}");
        let told = server.log().matches("unexpected answer to a check").count();
        assert_eq!(told, usize::from(is_said), "{body}: {}", server.log());
    }
    let upstream = Scripted::answering(move |_, _| lists[0].0.into_response());
    let server = gateway(&upstream, "url = \"URL\"", "");
    wait("it is listed", || {
        let one = agent().get(server.api("/v1/models/m")).call().expect("an answer");
        answer(one).json()["max_model_len"] == 4096
    });
}

#[test]
fn model_of_an_upstream_that_was_never_there_is_not_known_yet() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let toml = format!("[upstreams.a]\nurl = \"http://{address}\"\nhealth.interval = \"50ms\"\n");
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    let mut body = whole();
    body["model"] = json!("m");
    let reply = ask(&server, &body);
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_ne!(reply.header("retry-after"), "");
    let one = answer(agent().get(server.api("/v1/models/m")).call().expect("an answer"));
    assert_eq!(one.status, 503);
    // It comes: from its first list on, models that are not in it are unknown.
    let listener = std::net::TcpListener::bind(address).expect("the port");
    let _upstream =
        Scripted::at(listener, |_, _| async { r#"{"data":[{"id":"n"}]}"#.into_response() });
    wait("it is listed", || ask(&server, &body).status == 404);
}

#[test]
fn keys_and_headers_are_sent_as_configured() {
    let upstream = upstream();
    let lines = "url = \"URL\"\nkey = \"hush\"\nkey_header = \"api-key\"\n\
                 headers = { x-tenant = \"t\", HTTP-Referer = \"https://example.org\" }\n\
                 forward_headers = [\"baggage\", \"x-session-id\", \"x-tenant\", \"x-api-key\"]";
    let server = gateway(&upstream, lines, "");
    let ours = format!("tg-{}", "a".repeat(43));
    let client = [
        ("baggage", "a=b"),
        ("x-session-id", "s"),
        ("x-tenant", "mine"),
        ("x-api-key", &*ours),
        ("cookie", "c=d"),
        ("authorization", "Bearer client"),
        ("x-other", "o"),
        ("anthropic-beta", "x"),
    ];
    assert_eq!(ask_with(&server, &client, &whole().to_string()).status, 200);
    let had = &upstream.had("/v1/chat/completions")[0];
    for (name, expected) in [
        ("api-key", "hush"),
        ("http-referer", "https://example.org"),
        ("x-tenant", "t"),
        ("baggage", "a=b"),
        ("x-session-id", "s"),
        ("anthropic-beta", "x"),
        ("x-api-key", ""),
        ("cookie", ""),
        ("authorization", ""),
        ("x-other", ""),
    ] {
        assert_eq!(had.header(name), expected, "{name}");
    }
    let printed = crate::support::thermograph()
        .args(["config", "--config"])
        .arg(server.dir.path().join("thermograph.toml"))
        .output()
        .expect("run");
    let printed = String::from_utf8(printed.stdout).expect("UTF-8");
    assert!(printed.contains("x-session-id"), "{printed}");
    assert!(!printed.contains("hush") && !printed.contains("example.org"), "{printed}");
}
