//! The cache: what is kept, for whom, and that nothing else is.

mod answers;
mod bounds;
mod equal;
mod instances;
mod lost;
mod modes;
mod semantic;
mod vectors;

use serde_json::{Value, json};

use crate::{
    gateway::support::{CHAT, Client, Mock, Reply, Setup},
    support::{MODEL, Server},
};

/// A gateway that keeps answers and vectors, before these mocks.
fn keeping(mocks: &[&Mock], rest: &str) -> Server {
    let local = format!("[models.{MODEL}]\ndir = \"models/{MODEL}\"");
    let rest = format!("{local}\n[cache]\nanswers = \"64MiB\"\nvectors = \"64MiB\"\n{rest}");
    Setup { rest: &rest, ..Setup::of(mocks) }.start()
}

/// A chat of this text whose answer is the same each time.
fn certain(text: &str) -> Value {
    json!({
        "model": "mock", "temperature": 0,
        "messages": [{ "role": "user", "content": text }],
    })
}

/// The same, answered as a stream.
fn certain_stream(text: &str) -> Value {
    let mut body = certain(text);
    body["stream"] = json!(true);
    body
}

/// Asks on a connection of its own.
fn ask(server: &Server, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut request = http::Request::post(path).header("host", "gateway");
        for (name, value) in [("content-type", "application/json")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_string().into()).expect("a request");
        Reply::read(Client::new(server.addresses.api).send(request).await).await
    })
}

/// The same in a chat.
fn chat(server: &Server, body: &Value) -> Reply {
    ask(server, CHAT, &[], body)
}

/// Where an answer was from.
fn from(reply: &Reply) -> &str {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.header("x-cache")
}
