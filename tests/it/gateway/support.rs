//! A gateway before mocks, a client for it, and a load of many clients.
//!
//! ```text
//! let (a, b) = (Mock::start(&[]), Mock::start(&[]));
//! let server = gateway(&[&a, &b], "[gateway]\nretries = 1");
//! let load = Load::start(&server, 32);
//! wait("there is a load", || load.ended() > 100);
//! let tally = load.stop();
//! ```

mod client;
mod load;
mod reply;

use std::{fmt::Write as _, net::SocketAddr};

use http::Request;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

pub(crate) use self::{
    client::Client,
    load::Load,
    reply::{End, Reply},
};
pub(crate) use crate::support::mock::Mock;
use crate::support::{Server, give_way};

pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A gateway that is to be started: the model `mock`, at upstreams called `a`, `b`, `c`, …
pub(crate) struct Setup<'a> {
    pub(crate) upstreams: Vec<SocketAddr>,
    /// Keys of each upstream, as TOML.
    pub(crate) each: &'a str,
    /// Keys of the model, as TOML; `upstreams` among them replaces all of them by name.
    pub(crate) model: &'a str,
    /// What else stands in the configuration, beginning with a table.
    pub(crate) rest: &'a str,
}

impl Setup<'_> {
    pub(crate) fn of(mocks: &[&Mock]) -> Self {
        let upstreams = mocks.iter().map(|mock| mock.address).collect();
        Self { upstreams, each: "", model: "", rest: "" }
    }

    pub(crate) fn start(&self) -> Server {
        Server::configured("127.0.0.1:0", &self.toml(), &[])
    }

    /// The configuration.
    pub(crate) fn toml(&self) -> String {
        let Self { upstreams, each, model, rest } = self;
        let upstreams = || ('a'..='z').zip(upstreams);
        let mut toml = String::new();
        for (name, address) in upstreams() {
            writeln!(toml, "[upstreams.{name}]\nurl = \"http://{address}\"\n{each}").expect("text");
        }
        toml += "[models.mock]\n";
        if !model.lines().any(|line| line.starts_with("upstreams")) {
            let names: Vec<_> = upstreams().map(|(name, _)| name.to_string()).collect();
            writeln!(toml, "upstreams = {names:?}").expect("text");
        }
        writeln!(toml, "{model}\n{rest}").expect("text");
        toml
    }
}

/// A runtime for many clients at once.
pub(crate) fn crowd() -> Runtime {
    let runtime = Builder::new_multi_thread().enable_all().on_thread_start(give_way).build();
    runtime.expect("a runtime")
}

/// A gateway before these mocks.
pub(crate) fn gateway(mocks: &[&Mock], rest: &str) -> Server {
    Setup { rest, ..Setup::of(mocks) }.start()
}

/// A chat, answered whole.
pub(crate) fn whole() -> Value {
    json!({ "model": "mock", "messages": [{ "role": "user", "content": "hello" }] })
}

/// A chat, answered as a stream.
pub(crate) fn stream() -> Value {
    let mut body = whole();
    body["stream"] = json!(true);
    body
}

/// Asks once, on a connection of its own.
pub(crate) fn ask(server: &Server, body: &Value) -> Reply {
    ask_with(server, &[], &body.to_string())
}

/// Asks once with these headers and this text.
pub(crate) fn ask_with(server: &Server, headers: &[(&str, &str)], body: &str) -> Reply {
    let json = [("host", "gateway"), ("content-type", "application/json")];
    let mut request = Request::post(CHAT);
    for (name, value) in json.iter().chain(headers) {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_owned().into()).expect("a request");
    let mut client = Client::new(server.addresses.api);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { Reply::read(client.send(request).await).await })
}

/// How many requests to an upstream ended so, as the gateway counts them.
pub(crate) fn outcomes(server: &Server, upstream: &str, outcome: &str) -> u64 {
    let labels = format!(r#"{{upstream="{upstream}",outcome="{outcome}"}}"#);
    server.metric(&format!("thermograph_upstream_requests_total{labels}"))
}

/// A metric of one upstream.
pub(crate) fn of_upstream(server: &Server, metric: &str, upstream: &str) -> u64 {
    server.metric(&format!(r#"thermograph_upstream_{metric}{{upstream="{upstream}"}}"#))
}
