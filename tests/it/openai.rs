//! OpenAI's own clients, and frameworks that have theirs.

use crate::support::{MODEL, Server, get, mock::Mock, node, python, wait};

/// Version of the Python client that the answers are checked with.
const OPENAI: &[&str] = &["openai==3.57.0"];
/// Version of the Node client that the answers are checked with.
const OPENAI_NODE: &[&str] = &["openai@7.59.0"];
/// Frameworks, each with a client of its own.
const FRAMEWORKS: &[&str] = &[
    "langchain-openai==1.7.4",
    "litellm==1.110.2",
    "llama-index-embeddings-openai-like==0.4.0",
    "llama-index-llms-openai-like==0.8.1",
];

/// The mock, which has every kind of endpoint, and a gateway before it.
struct Endpoints {
    mock: Mock,
    gateway: Server,
}

impl Endpoints {
    fn start() -> Self {
        let mock = Mock::start(&["--models=mock"]);
        let url = mock.url("");
        let toml = format!("[upstreams.a]\nurl = \"{url}\"\n[models.\"*\"]\nupstreams = [\"a\"]\n");
        Self { mock, gateway: Server::configured("127.0.0.1:0", &toml, &[]) }
    }

    /// Runs a script against each, which takes the URL of the API, a key and a model.
    fn check(&self, check: impl Fn(&[&str])) {
        for url in [self.mock.url("/v1"), self.gateway.api("/v1")] {
            check(&[&url, "none", "mock"]);
        }
    }
}

#[test]
fn openai_package_uses_every_endpoint() {
    let endpoints = Endpoints::start();
    endpoints.check(|told| python::check(OPENAI, "clients/openai_endpoints.py", told));
}

#[test]
fn openai_node_package_uses_every_endpoint() {
    let endpoints = Endpoints::start();
    endpoints.check(|told| node::check(OPENAI_NODE, "clients/openai_endpoints.mjs", told));
}

#[test]
fn langchain_llama_index_and_litellm_get_what_they_expect() {
    let endpoints = Endpoints::start();
    endpoints.check(|told| python::check(FRAMEWORKS, "clients/frameworks.py", told));
}

#[test]
fn langchain_is_told_to_send_text_to_a_local_model() {
    let server = Server::start();
    let told = [&*server.api("/v1"), MODEL];
    python::check(FRAMEWORKS, "clients/langchain_local.py", &told);
}

#[test]
fn the_openai_package_gets_what_it_expects() {
    let toml = format!("[models.{MODEL}]\ndir = \"models/{MODEL}\"\naccept_token_ids = true\n");
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    python::check(OPENAI, "clients/openai_client.py", &[&server.api("/v1"), MODEL]);
}

#[test]
fn the_openai_package_gets_what_it_expects_from_upstreams() {
    let [a, b] = [(); 2].map(|()| Mock::start(&["--models=mock,org/model"]));
    let toml = format!(
        r#"
            # What is tried again, the client does; and what fails on purpose opens no breaker.
            [gateway]
            retries = 0
            breaker_requests = 1000000

            [upstreams.a]
            url = "http://{}"

            [upstreams.b]
            url = "http://{}"
        "#,
        a.address, b.address
    );
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    wait("it knows what they have", || get(&server.api("/health/ready")).status == 200);
    let arguments = [&server.api("/v1"), MODEL, &a.url(""), &b.url("")];
    python::check(OPENAI, "clients/openai_gateway.py", &arguments);
}
