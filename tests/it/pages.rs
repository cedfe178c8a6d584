//! Web pages of other sites, in a browser: refused by default, and allowed where that is configured.

use serde_json::json;

use crate::{
    page::Browser,
    support::{Answer, Server, agent, answer, get, mock::Mock, wait},
};

/// An expression: the status of a chat that the page asks for, or why there is none.
fn chat(server: &Server, init: &str) -> String {
    let body = json!({ "model": "mock", "messages": [{ "role": "user", "content": "hello" }] });
    let url = server.api("/v1/chat/completions");
    format!(
        "fetch({url:?}, {{method: 'POST', body: {:?}, {init}}}).then(\
           async (got) => got.type === 'opaque' ? got.type : got.status + ' ' + got.headers.get('x-request-id').length \
                          + ' ' + (await got.json()).object, \
           (error) => error.name)",
        body.to_string()
    )
}

const JSON: &str = "headers: {'content-type': 'application/json', 'x-stainless-os': 'Linux'}";

fn server(mock: &Mock, api: &str) -> Server {
    let upstream = format!("[upstreams.a]\nurl = \"http://{}\"\n[api]\n{api}\n", mock.address);
    let server = Server::configured("127.0.0.1:0", &upstream, &[]);
    wait("the mock is listed", || get(&server.api("/v1/models")).text.contains("\"mock\""));
    server
}

/// A page at another port; the browser shows it as it would any page.
fn page(mock: &Mock, host: &str) -> Browser {
    let mut page = Browser::start();
    page.open(&mock.url("/v1/models").replace("127.0.0.1", host));
    page
}

#[test]
fn page_of_another_origin_chats_if_it_is_allowed() {
    let mock = Mock::start(&[]);
    let origin = format!("http://localhost:{}", mock.address.port());
    let server = server(&mock, &format!("cors_origins = [{origin:?}]"));
    let mut page = page(&mock, "localhost");
    assert_eq!(page.eval(&chat(&server, JSON)), "200 36 chat.completion");
    // An error is read, too.
    let missing = format!("fetch({:?}).then((got) => got.status)", server.api("/nowhere"));
    assert_eq!(page.eval(&missing), 404);
    let asked = mock.counts().requests_total;
    // Another page of the same machine is another origin.
    page.open(&mock.url("/v1/models"));
    assert_eq!(page.eval(&chat(&server, JSON)), "TypeError");
    assert_eq!(mock.counts().requests_total, asked);
}

#[test]
fn page_of_another_origin_reaches_nothing_by_default() {
    let mock = Mock::start(&[]);
    let server = server(&mock, "");
    for host in ["localhost", "127.0.0.1"] {
        let mut page = page(&mock, host);
        let plain = "headers: {'content-type': 'text/plain'}";
        // An opaque response tells the page nothing, but the request may have had an effect.
        for (init, expected) in
            [(JSON, "TypeError"), (plain, "TypeError"), ("mode: 'no-cors'", "opaque")]
        {
            assert_eq!(page.eval(&chat(&server, init)), expected, "{host}: {init}");
        }
        let capture = server.diagnostics("/debug/pprof/profile?seconds=1");
        // A page may send its reader anywhere.
        page.eval(&format!("void (location = {capture:?})"));
        page.wait("the refusal is there", "document.body?.innerText.includes('not allowed')");
        page.open(&mock.url("/v1/models"));
        let link = server.diagnostics("/debug/");
        page.eval(&format!("void (location = {link:?})"));
        page.wait("the page is there", "document.title.includes('thermograph')");
    }
    assert_eq!(mock.counts().requests_total, 0, "a page has reached the model");
}

#[test]
fn capture_that_a_page_may_have_asked_for_is_refused() {
    let server = Server::start();
    let ask = |path: &str, headers: &[(&str, &str)]| {
        let mut request = agent().get(server.diagnostics(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call().expect("an answer")).status
    };
    let site = ("sec-fetch-site", "cross-site");
    let link = [site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    for path in [
        "/debug/pprof/profile?seconds=1",
        "/debug/pprof/profile",
        "/debug/fgprof?seconds=1&force=true",
        "/debug/pprof/heap",
        "/debug/pprof/trace?seconds=1",
        "/debug/spans?seconds=1",
        "/debug/tasks?full=true",
        "/debug/diagnosis?seconds=1",
        "/debug/live",
    ] {
        for headers in [&[site][..], &[("origin", "http://a.example")], &link] {
            assert_eq!(ask(path, headers), 403, "{path} {headers:?}");
        }
    }
    assert_eq!(ask("/debug/", &link), 200);
    assert_eq!(ask("/debug/", &[site]), 403);
    assert_eq!(ask("/debug/spans?seconds=1", &[("sec-fetch-site", "same-origin")]), 200);
}

#[test]
fn request_that_a_page_may_have_sent_is_refused() {
    let server = Server::start();
    let ask = |headers: &[(&str, &str)]| -> Answer {
        let mut request = agent().post(server.api("/v1/embeddings"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(r#"{"model":"all-MiniLM-L6-v2","input":"a"}"#).expect("an answer"))
    };
    let json = ("content-type", "application/json");
    assert_eq!(ask(&[json]).status, 200);
    let host = ask(&[json, ("host", "evil.example")]);
    assert_eq!((host.status, host.error()["code"].as_str()), (403, Some("host_not_allowed")));
    let site = ask(&[json, ("sec-fetch-site", "cross-site")]);
    assert_eq!((site.status, site.error()["code"].as_str()), (403, Some("origin_not_allowed")));
    let models = agent().get(server.api("/v1/models")).header("host", "evil.example").call();
    assert_eq!(answer(models.expect("an answer")).status, 403);
    // A page can send a body without a type.
    assert_eq!(ask(&[("sec-fetch-site", "cross-site")]).status, 403);
    // Without an allowed origin there is no CORS.
    let preflight = agent().options(server.api("/v1/chat/completions"));
    let preflight = answer(preflight.header("origin", "https://a.example").call().expect("it"));
    assert_eq!(preflight.status, 405);
    assert_eq!(preflight.header("access-control-allow-origin"), "");
}
