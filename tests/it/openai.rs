//! OpenAI's own Python client.

use crate::support::{MODEL, Server, get, mock::Mock, python, wait};

/// The client's version that the answers are checked with.
const OPENAI: &[&str] = &["openai==3.54.0"];

#[test]
fn the_openai_package_gets_what_it_expects() {
    let toml = format!("[models.{MODEL}]\ndir = \"models/{MODEL}\"\naccept_token_ids = true\n");
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    python::check(OPENAI, "openai_client.py", &[&server.api("/v1"), MODEL]);
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
    python::check(OPENAI, "openai_gateway.py", &arguments);
}
